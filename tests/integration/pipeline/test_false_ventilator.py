"""A worker with keys says nothing to a ventilator without the right secret key."""

from pathlib import Path

import pytest
import zmq
from support.services.secured import process

from penstock.commands.keys import main as keys_command
from penstock.protocol.transport.sockets import new_key_pair

pytestmark = pytest.mark.integration


def test_a_false_ventilator_hears_nothing(tmp_path: Path) -> None:
    """A worker with keys talks to a process with the ventilator's secret key: not to one with another, or none."""
    keys = tmp_path / "keys"
    assert 0 == keys_command(["init", str(keys)])
    for secret in (None, new_key_pair()[1]):
        context = zmq.Context()
        try:
            router = context.socket(zmq.ROUTER)
            if secret:
                router.setsockopt(zmq.CURVE_SERVER, 1)
                router.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
            monitor = router.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
            router.bind(f"ipc://{tmp_path}/v.sock")
            with process("penstock.worker", "--ventilator", f"ipc://{tmp_path}/v.sock", "--keys", str(keys)):
                assert monitor.poll(60_000), "no peer connected"
                assert 0 == router.poll(200), "it said something"
            router.disable_monitor()
        finally:
            context.destroy(linger=0)
