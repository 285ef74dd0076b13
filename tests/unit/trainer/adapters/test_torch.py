"""Of the PyTorch adapter, what needs no PyTorch: when memory is pinned, and when it is let go."""

import gc
from collections.abc import Iterable

import numpy as np

from penstock.trainer.adapters.torch_loader import Pins


class Device:
    """Records what is pinned; refuses memory of one size."""

    def __init__(self, refused: int = 0) -> None:
        """Have pinned nothing yet."""
        self.pinned: dict[int, int] = {}
        self.calls = 0
        self._refused = refused

    def register(self, address: int, size: int) -> bool:
        """Pin memory, if it may be."""
        assert address not in self.pinned
        self.calls += 1
        if size != self._refused:
            self.pinned[address] = size
        return size != self._refused

    def unregister(self, address: int) -> None:
        """Let memory go that is pinned."""
        del self.pinned[address]


def pins(device: Device, buffers: Iterable[np.ndarray]) -> Pins:
    """Return pins that have seen views of these buffers."""
    found = Pins(device.register, device.unregister)
    for buffer in buffers:
        found.pin(buffer[10:].view(np.uint8).reshape(-1, 1))
    return found


def test_memory_that_comes_again_is_pinned_once_and_let_go_with_its_buffer() -> None:
    """Views of a buffer are that buffer; what is small or comes once only is left alone."""
    device = Device()
    kept, once = np.zeros(1_000_000, np.uint8), np.zeros(500_000, np.uint8)
    found = pins(device, [kept, once, kept, kept, np.zeros(1000, np.uint8)])
    assert {kept.ctypes.data: 1_000_000} == device.pinned
    assert 1 == device.calls
    del kept, once
    gc.collect()
    assert {} == device.pinned
    del found


def test_memory_of_others_is_not_pinned() -> None:
    """A received frame belongs to the socket's library: it does not come again, and may go at any time."""
    device, frame = Device(), bytearray(1_000_000)
    for _ in range(3):
        pins(device, [np.frombuffer(frame, np.uint8)] * 2)
    assert 0 == device.calls


def test_memory_that_cannot_be_pinned_is_copied_as_it_is() -> None:
    """A refusal is no error, and it does not make the buffer one to let go."""
    device, buffer = Device(refused=1_000_000), np.zeros(1_000_000, np.uint8)
    pins(device, [buffer, buffer])
    del buffer
    gc.collect()
    assert {} == device.pinned
