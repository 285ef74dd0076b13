"""The most memory that a process ever had, as the kernel counted it: what was there between two looks is not missed.

Not `ru_maxrss`: a new program inherits that from the one that started it.
"""

from pathlib import Path


def peak_bytes(pid: int | str = "self") -> int:
    """Return the largest resident size of a process since its program began, or since `begin_peak`."""
    return _status(pid, "VmHWM")


def begin_peak(pid: int | str = "self") -> int:
    """Forget the peak of a process so far; return its resident size."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def _status(pid: int | str, name: str) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
