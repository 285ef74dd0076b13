"""What a sink tells workers of other hosts."""

import pytest

from penstock.protocol.addresses import reachable


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "*", "[::]", "[::ffff:0.0.0.0]"])  # noqa: S104 - nothing is bound
def test_a_wildcard_is_advertised_as_the_host(wildcard: str) -> None:
    """ZeroMQ reports a bound IPv4 wildcard mapped into IPv6: no spelling of it may reach another host."""
    assert "tcp://box:5556" == reachable(f"tcp://{wildcard}:5556", "box")


def test_an_address_of_one_s_own_is_advertised_as_it_is() -> None:
    """Only wildcards are replaced."""
    assert "tcp://10.0.0.7:5556" == reachable("tcp://10.0.0.7:5556", "box")
