"""`FrameworkLoaders`: a feed's methods that hand its batches to training frameworks.

Each one only calls its adapter. A framework, which takes seconds to import, is imported when its method is called.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import jax  # pyright: ignore[reportMissingImports] - an extra that the checks do without
    import tensorflow as tf
    import torch  # pyright: ignore[reportMissingImports] - likewise

    from penstock.trainer.adapters.batches import ResumableSource
    from penstock.trainer.adapters.jax import JaxLoader
    from penstock.trainer.adapters.torch_loader import TorchLoader


class FrameworkLoaders:
    """The methods that a feed has for each framework."""

    def dataset(
        self, fields: tuple[str, ...] | None = ("image", "label"), *, prefetch: int = 2
    ) -> "tf.data.Dataset[Any]":
        """Return a tf.data.Dataset of whole batches, one epoch an iteration, for `model.fit`: `penstock.tf.dataset`."""
        from penstock.trainer.adapters.tf import dataset  # noqa: PLC0415 - TensorFlow is imported only when asked for

        return dataset(self._as_source(), fields, prefetch=prefetch)

    def torch(
        self,
        device: "str | torch.device | None" = None,
        *,
        channels_last: bool | None = None,
        fields: tuple[str, ...] | None = None,
        prefetch_to_device: int = 2,
    ) -> "TorchLoader":
        """Return a loader of tensors, one epoch an iteration, in place of a DataLoader: `penstock.torch.loader`."""
        from penstock.trainer.adapters.torch_loader import TorchLoader  # noqa: PLC0415 - PyTorch takes seconds

        return TorchLoader(
            self._as_source(),
            device=device,
            channels_last=channels_last,
            fields=fields,
            prefetch_to_device=prefetch_to_device,
        )

    def jax(
        self,
        sharding: "jax.sharding.Sharding | Mapping[str, jax.sharding.Sharding] | None" = None,
        *,
        fields: tuple[str, ...] | None = None,
        prefetch_to_device: int = 2,
    ) -> "JaxLoader":
        """Return a loader of numpy or global JAX arrays, one epoch an iteration: `penstock.jax.loader`."""
        from penstock.trainer.adapters.jax import JaxLoader  # noqa: PLC0415 - JAX is imported only when asked for

        return JaxLoader(self._as_source(), sharding=sharding, fields=fields, prefetch_to_device=prefetch_to_device)

    def keras(self, fields: tuple[str, ...] | None = ("image", "label")) -> Any:
        """Return what Keras's `fit` and `evaluate` train from, one epoch an iteration, on any backend.

        A `keras.utils.PyDataset` for PyTorch and JAX, a tf.data.Dataset for TensorFlow; tuples of `fields`, or dicts of
        all of them for None. `penstock.keras.Checkpoint` saves and resumes with each.
        """
        from penstock.trainer.adapters.keras_dataset import keras_dataset  # noqa: PLC0415 - Keras takes seconds

        return keras_dataset(self._as_source(), fields)

    def _as_source(self) -> "ResumableSource":
        """Return the feed itself, as what adapters take: every class that has these methods is such a source."""
        return cast("ResumableSource", self)
