"""A stack inside a Ray job: `penstock.ray.start` starts it, `penstock.ray.connect` feeds a rank of Ray Train.

Needs the extra `ray`, which is imported when one of the names is first used. `actors.py` has what runs where.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.ray.stack import RayStack, connect, start

__all__ = ["RayStack", "connect", "start"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute may be anything
        """Import a public name, and with it Ray. Raises PenstockError, with the command to install it."""
        if name not in __all__:
            raise AttributeError(f"module 'penstock.ray' has no attribute {name!r}")
        return getattr(importlib.import_module("penstock.ray.stack"), name)
