"""A small AMQP 1.0 router on Qpid Proton's Python binding: the stand-in where no real router can be had.

Node-side: standard library and `python-qpid-proton` only, Python >= 3.8. The parts, from pure to wire:

    config      reads the same configuration file the real routers read
    addresses   what an address means: where it lives, how it is distributed, how far a message for it may go
    linkstate   which routers exist, who is joined to whom, who has which address, and the shortest paths
    frames      the bytes of our own inter-router protocol
    engine      sockets, timers and Proton's protocol engine: turns bytes into events
    outcomes    how a delivery ends
    links       one AMQP link each: credit, queues, deliveries on their way
    forward     the decision: which receivers, which next hops
    mesh        neighbours: hello, flooding, the links messages cross to other routers on
    management  answers questions on $management
    tables      what it says of itself there
    router      puts them together
    main        the command

What it does not do, and real routers do: TLS and passwords, transactions, passing on a message before all of it has
come, address patterns and policies, more than one thread, and joining a mesh with routers of another make.
"""
