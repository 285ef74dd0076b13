"""The error for a training framework that an adapter needs and cannot import."""

from penstock.protocol.errors import PenstockError

#: How to install TensorFlow and Keras.
TENSORFLOW = "pip install 'penstock[tf-cpu]', or 'penstock[tf]' with CUDA"

#: How to install PyTorch, and JAX.
TORCH = "pip install 'penstock[torch]'"
JAX = "pip install 'penstock[jax]'"


def missing_framework(name: str, install: str, error: ImportError) -> PenstockError:
    """Return the error for a framework that cannot be imported; `install` is the command that installs it."""
    return PenstockError(f"{name} is needed and cannot be imported ({error}): {install}")
