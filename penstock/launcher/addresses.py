"""Addresses of the services of a stack on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the services of a stack."""

    ventilator: str
    results: str
    trainers: str

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Return Unix sockets in a folder."""
        return cls(*(f"ipc://{folder}/{name}.sock" for name in ("ventilator", "results", "trainers")))

    @property
    def is_one_host(self) -> bool:
        """Whether only workers of this host can join: the ventilator listens at a Unix socket."""
        return self.ventilator.startswith("ipc://")
