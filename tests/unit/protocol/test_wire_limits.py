"""The largest header of each kind of message."""

import pytest

from penstock.protocol import messages, wire
from penstock.protocol.errors import RemoteProtocolError


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (messages.Credit, 128_000),
        (messages.Drain, 128_000),
        (messages.Heartbeat, 2_000_000),
        (messages.Progress, 8_000_000),
    ],
)
def test_headers_are_limited_by_kind(kind: type[messages.AnyMessage], most: int) -> None:
    """Listings may take 8 MB, reports 2 MB, all other headers 128 KB; one byte more is refused unparsed."""
    name = f"penstock/{wire.PROTOCOL_VERSION} {kind.__name__}".encode()
    with pytest.raises(
        RemoteProtocolError, match=rf"^size: {kind.__name__} with a header of {most + 1} bytes; .*{most}"
    ):
        wire.decode([name, b" " * (most + 1)], frozenset({kind}))
    with pytest.raises(RemoteProtocolError, match=r"^header: "):
        wire.decode([name, b" " * most], frozenset({kind}))
