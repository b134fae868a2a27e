"""The prober: answers and sends UDP echoes on a node, and moves bytes over TCP, to measure what a link really does.

Standard library only, Python >= 3.8; sent to the nodes as an archive. Files:

    echo        UDP echoes with four timestamps
    stream      one TCP flow, for throughput
    main        the process: JSON lines on stdin and stdout
"""
