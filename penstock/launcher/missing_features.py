"""Says what a local stack lacks on systems other than Linux."""

from penstock.protocol.transport.segments import has_anonymous_files


def missing_features() -> list[str]:
    """Return one sentence about what this system does not offer, or nothing on Linux."""
    if has_anonymous_files():
        return []
    text = (
        "this system has no memfd or no /proc: samples are copied through sockets, arrays given in memory become "
        "files, and everything else works; `penstock doctor` shows what this machine offers"
    )
    return [text]
