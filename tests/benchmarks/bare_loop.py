"""The same oslo.messaging calls as the agent's, in a bare loop: what the agent's cost is compared with.

    bare_loop.py URL EXCHANGE TOPIC BYTES

Reads counts from standard input, one a line; makes so many calls, and prints their times (ns) as one line of JSON.
Runs inside a stack; standard library and oslo.messaging only.
"""

from __future__ import annotations

import json
import sys
import time
import warnings


def main() -> None:
    """Serve counts until end of input."""
    import oslo_messaging
    from oslo_config import cfg

    url, exchange, topic, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    cfg.CONF([], project="bare", default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
    warnings.simplefilter("ignore", DeprecationWarning)
    target = oslo_messaging.Target(exchange=exchange, topic=topic)
    client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
    payload = "x" * size
    now = time.monotonic_ns
    for line in sys.stdin:
        count = int(line)
        times = [0] * count
        for seq in range(count):
            start = now()
            client.call({}, "serve", agent=1, seq=seq, due=start, flags=0, payload=payload)
            times[seq] = now() - start
        print(json.dumps(times), flush=True)
    transport.cleanup()


if __name__ == "__main__":
    main()
