"""Adapters: modules of free functions that turn a feed's batches into what a training framework consumes.

`batches.py` holds the protocols that they build on; CONTRIBUTING.md says how to add one. An adapter is imported when it
is first asked for, as `penstock.tf` or `penstock.keras`: its framework takes seconds to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.trainer.adapters import composer, jax, keras, tf, torch

__all__ = ["composer", "jax", "keras", "tf", "torch"]

#: Every adapter: its name below `penstock`, and its module.
ADAPTERS = {
    "composer": "penstock.trainer.adapters.composer",
    "jax": "penstock.trainer.adapters.jax",
    "keras": "penstock.trainer.adapters.keras",
    "tf": "penstock.trainer.adapters.tf",
    "torch": "penstock.trainer.adapters.torch",
}


def __getattr__(name: str) -> Any:
    """Import an adapter. Raises PenstockError, with the command to install it, if its framework is missing."""
    if name not in ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(ADAPTERS[name])
