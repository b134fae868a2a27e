"""A packet-level WAN emulator in userspace: every directed link is a netfilter queue whose verdicts are delayed.

Runs inside the wan gateway, where the kernel hands every packet that crosses from one site to another to a queue of
its own (`iptables -j NFQUEUE`). The emulator holds the packet's verdict for the link's delay, or drops, duplicates,
corrupts or paces it. Whatever is forwarded is subject to it alike: TCP, UDP, ICMP, IPv4 and IPv6. Rules carry no
`--queue-bypass`, so a dead emulator means no traffic, never unimpaired traffic.

Standard library only, Python >= 3.8; sent to the gateway as an archive. Files:

    netlink    the NFQUEUE messages as bytes
    effects    what an impairment does to one packet (pure)
    batch      many messages read at a time
    kernel     the socket the queues are bound to, its commands and counters
    clocks     the kernel's time stamps on our clock
    link       the state of one direction
    engine     the loop that reads packets, waits and releases them
    inject     second copies of duplicated packets
    lateness   histogram of how late packets were released
    main       the process: priority, JSON lines on stdin and stdout
"""
