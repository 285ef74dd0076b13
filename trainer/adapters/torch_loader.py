"""`TorchLoader`: a feed's batches as tensors, in the place of PyTorch's `DataLoader`.

On the CPU, tensors share memory with the received batch. For a CUDA device, batches are copied on a stream of their
own while the step runs: the memory that a batch was received into is pinned once and used again for later batches, but
never before its copy is complete and no tensor of it lives.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from penstock.protocol.errors import SpecError
from penstock.protocol.wire import Array
from penstock.trainer.adapters.ahead import Ahead, timed
from penstock.trainer.adapters.batches import ResumableSource, WaitClock
from penstock.trainer.adapters.frameworks import TORCH, import_framework
from penstock.trainer.adapters.loader import Loader

#: Memory smaller than this (bytes) is not pinned: it is not used again, and pinning costs more than it saves.
_LEAST_PINNED = 262_144


class Samples:
    """What a loader shows as its `dataset`: how many samples an epoch has, and nothing else."""

    def __init__(self, feed: ResumableSource) -> None:
        """Take the feed."""
        self._feed = feed

    def __len__(self) -> int:
        """Return the samples of a whole epoch, over all ranks."""
        return self._feed.samples_per_epoch

    def __getitem__(self, index: object) -> NoReturn:
        """Raise SpecError: samples come in batches, in the stream's order."""
        raise SpecError(f"sample {index!r} cannot be asked for alone: iterate the loader")


class TorchLoader(Loader[Any]):
    """A feed's batches as tensors, one epoch an iteration; goes where trainers expect a `DataLoader`.

    It has the attributes of one that trainers look at. Workers, shuffling and sharding are the stream's.
    """

    #: Attributes of a DataLoader: it starts no processes, since the stack has the workers.
    num_workers = 0
    batch_sampler = collate_fn = worker_init_fn = generator = None

    def __init__(
        self,
        feed: ResumableSource,
        *,
        device: Any = None,
        channels_last: bool | None = None,
        fields: tuple[str, ...] | None = None,
        prefetch_to_device: int = 2,
    ) -> None:
        """Take the arguments of `penstock.torch.loader`."""
        super().__init__(feed, fields, prefetch_to_device)
        self._torch = torch = import_framework("torch", "PyTorch", TORCH)
        self.device = torch.device("cpu" if device is None else device)
        self.dataset = Samples(feed)
        self.pin_memory = self.device.type == "cuda"
        self._channels_last = channels_last
        if self.device.type == "cuda":
            copies = _CudaCopies(torch, self.device, self._tensors, feed.stats)
            self._ahead = Ahead(feed, copies.start, prefetch_to_device)
        elif self.device.type != "cpu":
            self._ahead = Ahead(feed, timed(self._put, feed.stats), prefetch_to_device)

    @property
    def batch_size(self) -> int:
        """Samples in a batch of this rank."""
        return self.feed.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether every batch is full: the stream's `drop_remainder`."""
        return self.feed.drop_remainder

    @property
    def sampler(self) -> "TorchLoader":
        """The loader itself: trainers call `sampler.set_epoch`."""
        return self

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches up to the end of the epoch; after a break, go on with the batch after the last."""
        if self._ahead is None:
            for arrays in self.feed:
                yield self._shaped(self._tensors(arrays))
            return
        for moved in self._ahead:
            yield self._shaped(moved.arrive())

    def _tensors(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Return the chosen fields as tensors that share the arrays' memory, images as (n, channels, height, width).

        Tensors cannot be read-only: of a feed without copies, they get memory of their own.
        """
        writable = {field.name: np.require(arrays[field.name], requirements="W") for field in self.fields}
        tensors = {name: self._torch.from_numpy(array) for name, array in writable.items()}
        for field in self.fields:
            if field.axes == "hwc":
                tensors[field.name] = tensors[field.name].permute(0, 3, 1, 2)
        return tensors

    def _put(self, arrays: Mapping[str, Array]) -> "_Moved":
        return _Moved({name: tensor.to(self.device) for name, tensor in self._tensors(arrays).items()})

    def _shaped(self, tensors: dict[str, Any]) -> Any:
        """Bring images into the memory format that was asked for, and the batch into a dict or tuple."""
        if self._channels_last is not None:
            layout = self._torch.channels_last if self._channels_last else self._torch.contiguous_format
            for field in self.fields:
                if field.axes in ("hwc", "chw"):
                    tensors[field.name] = tensors[field.name].contiguous(memory_format=layout)
        return self._packed(tensors)


class _Moved:
    """Tensors on their device."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = tensors

    def arrive(self) -> dict[str, Any]:
        """Return the tensors, ready for the stream that calls."""
        return self.tensors


class _CudaBatch(_Moved):
    """Tensors whose copies were started on another stream."""

    def __init__(self, torch: Any, tensors: dict[str, Any], device: Any, copied: Any) -> None:
        super().__init__(tensors)
        self._torch, self._device, self._copied = torch, device, copied

    def arrive(self) -> dict[str, Any]:
        """Have the current stream wait for the copies, without having the program wait."""
        stream = self._torch.cuda.current_stream(self._device)
        stream.wait_event(self._copied)
        for tensor in self.tensors.values():
            tensor.record_stream(stream)
        return self.tensors


class _CudaCopies:
    """Starts copies to a CUDA device on a stream of its own, out of memory that stays pinned."""

    def __init__(
        self, torch: Any, device: Any, tensors: Callable[[Mapping[str, Array]], dict[str, Any]], clock: WaitClock
    ) -> None:
        self._torch, self._device, self._tensors = torch, device, tensors
        self._stream: Any = None
        self._clock = clock
        #: Batches whose copies may not be complete, each with its beginning and its end on the device's own clock:
        #: their memory must not be written again.
        self._copying: deque[tuple[Any, Any, dict[str, Any]]] = deque()
        self._pins = Pins(self._register, self._unregister)

    def start(self, arrays: dict[str, Array]) -> _CudaBatch:
        """Start a batch's copies; called on the thread that fetches ahead."""
        cuda = self._torch.cuda
        if self._stream is None:
            self._stream = cuda.Stream(self._device)
        while self._copying and self._copying[0][1].query():
            began, copied, _ = self._copying.popleft()
            self._clock.copied(began.elapsed_time(copied) / 1000)
        for array in arrays.values():
            self._pins.pin(array)
        host = self._tensors(arrays)
        with cuda.device(self._device), cuda.stream(self._stream):
            began, copied = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            self._stream.record_event(began)
            moved = {name: tensor.to(self._device, non_blocking=True) for name, tensor in host.items()}
            self._stream.record_event(copied)
        self._copying.append((began, copied, host))
        return _CudaBatch(self._torch, moved, self._device, copied)

    def _register(self, address: int, size: int) -> bool:
        return int(self._torch.cuda.cudart().cudaHostRegister(address, size, 0)) == 0

    def _unregister(self, address: int) -> None:
        self._torch.cuda.cudart().cudaHostUnregister(address)


class Pins:
    """Pins the memory of arrays, each buffer once, and lets it go before the buffer is freed.

    Only memory that comes a second time is pinned: a feed's own buffers do; a frame of a socket does not, and pinning
    costs more than a copy.
    """

    def __init__(self, register: Callable[[int, int], bool], unregister: Callable[[int], None]) -> None:
        """Pin by `register(address, bytes)`, which says whether it could, and let go by `unregister(address)`."""
        self._register, self._unregister = register, unregister
        #: By address: whether the buffer that lies there was seen once only, so is not pinned yet.
        self._seen: dict[int, bool] = {}

    def pin(self, array: Array) -> None:
        """Pin the buffer that an array lies in, if it is one that comes again."""
        buffer = array
        while isinstance(buffer.base, np.ndarray):
            buffer = buffer.base
        if buffer.base is not None or buffer.nbytes < _LEAST_PINNED:
            return
        address = buffer.ctypes.data
        if address not in self._seen:
            self._seen[address] = True
            weakref.finalize(buffer, self._forget, address)
        elif self._seen[address] and self._register(address, buffer.nbytes):
            self._seen[address] = False

    def _forget(self, address: int) -> None:
        if not self._seen.pop(address, True):
            self._unregister(address)
