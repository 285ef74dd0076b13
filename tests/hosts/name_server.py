"""A name server for tests: answers for names in a file, never for those that stand there without an address.

Run as `python name_server.py ADDRESS FILE`; each line of the file is a name and, if it is to be answered for, an IPv4
address. It is read again for each question. Says every question, with what became of it. Unlisted names do not exist.
"""

import socket
import struct
import sys
from pathlib import Path

#: Types and class of RFC 1035; answers are good for no time at all, so that nobody keeps them.
_A, _IN, _FOR_S = 1, 1, 0
#: Flags of an answer of the zone's own server, where recursion was asked for and is there; and: there is no such name.
_ANSWER, _NO_SUCH_NAME = 0x8580, 3


def question(packet: bytes) -> tuple[str, int, int]:
    """Return the name that is asked for, the type of record, and where the question ends."""
    labels, at = [], 12
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), int(struct.unpack_from("!H", packet, at + 1)[0]), at + 5


def answer(packet: bytes, end: int, flags: int, address: str = "") -> bytes:
    """Return an answer to the one question in a packet, with the address if there is one."""
    record = b""
    if address:
        record = struct.pack("!HHHIH", 0xC00C, _A, _IN, _FOR_S, 4) + socket.inet_aton(address)
    return packet[:2] + struct.pack("!HHHHH", flags, 1, bool(address), 0, 0) + packet[12:end] + record


def main() -> None:
    """Serve until killed."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], 53))
    print("ready", flush=True)  # noqa: T201 - how it answers
    while True:
        packet, peer = server.recvfrom(4096)
        name, kind, end = question(packet)
        known = {line.split()[0]: line.split()[1:] for line in Path(sys.argv[2]).read_text().splitlines()}
        found = known.get(name)
        print(name, kind, "unknown" if found is None else found[0] if found else "no answer", flush=True)  # noqa: T201
        if found is None:
            server.sendto(answer(packet, end, _ANSWER | _NO_SUCH_NAME), peer)
        elif found:
            server.sendto(answer(packet, end, _ANSWER, found[0] if kind == _A else ""), peer)


main()
