"""Measures the GPUs of this machine with NVIDIA's management library (NVML)."""

import contextlib
import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_NVML: ModuleType | None = importlib.import_module("pynvml") if importlib.util.find_spec("pynvml") else None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU at one moment; nan where it would not say."""

    #: Time with a kernel running, over the library's own last period (percent).
    percent: float
    memory_mb: float


class Gpus:
    """The GPUs of this machine; none where there is no NVML or no driver."""

    def __init__(self) -> None:
        """Find the GPUs."""
        #: Names, in NVML's order.
        self.names: tuple[str, ...] = ()
        #: Why no GPU is measured.
        self.why = "nvidia-ml-py is not installed"
        self._handles: list[Any] = []
        if _NVML is None:
            return
        try:
            _NVML.nvmlInit()
            self._handles = [_NVML.nvmlDeviceGetHandleByIndex(each) for each in range(_NVML.nvmlDeviceGetCount())]
            self.names = tuple(str(_NVML.nvmlDeviceGetName(handle)) for handle in self._handles)
            self.why = "" if self.names else "the driver lists none"
        except _NVML.NVMLError as error:
            self._handles, self.why = [], f"NVML: {error}"

    def read(self) -> tuple[GpuUse, ...]:
        """Return the state of each GPU."""
        return tuple(self._read(handle) for handle in self._handles)

    def close(self) -> None:
        """Close the library."""
        if self._handles and _NVML is not None:
            self._handles = []
            with contextlib.suppress(_NVML.NVMLError):
                _NVML.nvmlShutdown()

    @staticmethod
    def _read(handle: Any) -> GpuUse:  # noqa: ANN401 - NVML's
        assert _NVML is not None  # noqa: S101 - handles come from it
        percent = memory = float("nan")
        with contextlib.suppress(_NVML.NVMLError):  # partitioned GPUs do not say how busy they are
            percent = float(_NVML.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(_NVML.NVMLError):
            memory = float(_NVML.nvmlDeviceGetMemoryInfo(handle).used) / 1e6
        return GpuUse(percent, memory)
