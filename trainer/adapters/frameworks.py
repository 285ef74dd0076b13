"""Imports the training frameworks that adapters need; an error says how to install a missing one."""

import importlib
from typing import Any

from penstock.protocol.errors import PenstockError

#: How to install TensorFlow and Keras.
TENSORFLOW = "pip install 'penstock[tf-cpu]', or 'penstock[tf]' with CUDA"

#: How to install PyTorch, and JAX.
TORCH = "pip install 'penstock[torch]'"
JAX = "pip install 'penstock[jax]'"


def import_framework(module: str, name: str, install: str) -> Any:
    """Return a framework's module. Raises PenstockError, with the command to install it, if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_framework(name, install, error) from error


def missing_framework(name: str, install: str, error: ImportError) -> PenstockError:
    """Return the error for a framework that cannot be imported; `install` is the command that installs it."""
    return PenstockError(f"{name} is needed and cannot be imported ({error}): {install}")
