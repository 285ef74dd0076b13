"""The containers' health check: asks this container's /healthz, prints the answer, exits 0 if the service is ready.

With --alive, any answer will do: a swarm ends what is unhealthy, and a service that waits for another one is to stay.

Bare sockets of the standard library and no more: it runs every few seconds in every container.
"""

import os
import socket
import sys

#: Where the services answer, unless PENSTOCK_HEALTH says otherwise.
ADDRESS = "127.0.0.1:8080"
#: Longest that connecting, or waiting for the answer, may take (s).
LIMIT_S = 3.0
#: Where this container reaches itself that listens on all addresses.
_HERE = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104 - compared, not bound


def main() -> int:
    """Ask, print and return 0 (ready, or alive if that is the question) or 1."""
    address = os.environ.get("PENSTOCK_HEALTH", ADDRESS)
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((_HERE.get(host, host.strip("[]")), int(port)), LIMIT_S) as connection:
            connection.settimeout(LIMIT_S)
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    except (OSError, ValueError) as error:
        print(f"no answer from {address}: {error}")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    print(body.decode(errors="replace").strip())
    return 0 if sys.argv[1:] == ["--alive"] or head.split(b" ", 2)[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
