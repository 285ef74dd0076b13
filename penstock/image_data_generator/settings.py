"""The arguments of an `ImageDataGenerator`, and its methods for single images: draw, change, normalise."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from penstock.image_data_generator import legacy_random, standardize
from penstock.image_data_generator.checks import (
    check_array,
    check_image,
    check_number,
    check_pair,
    check_parameters,
    check_shape,
    check_whole,
    check_workers,
    is_number,
)
from penstock.protocol.errors import ArgumentError, ArgumentTypeError
from penstock.protocol.spec.augment import Augment
from penstock.worker.imaging.augment.apply import apply_parameters, change_randomly, random_parameters

Images = npt.NDArray[Any]
#: Arguments that go into the spec's `augment` under the same names.
_AUGMENT = (
    "rotation_range",
    "width_shift_range",
    "height_shift_range",
    "brightness_range",
    "shear_range",
    "zoom_range",
    "channel_shift_range",
    "fill_mode",
    "cval",
    "horizontal_flip",
    "vertical_flip",
    "interpolation_order",
)


class ImageSettings:
    """The arguments of `ImageDataGenerator`, all of them attributes of the same names, and single images."""

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[Images], Images] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
        *,
        workers: int | None = None,
        pool: Any = None,
    ) -> None:
        """Check and keep the arguments. Raises ArgumentError, a ValueError, and ArgumentTypeError, a TypeError."""
        self.featurewise_center, self.samplewise_center = featurewise_center, samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.brightness_range = check_pair("brightness_range", brightness_range)
        if is_number(zoom_range):
            self.zoom_range: Any = [1 - zoom_range, 1 + zoom_range]
        else:
            self.zoom_range = check_pair("zoom_range", zoom_range, " (or one)")
        self.channel_shift_range = channel_shift_range
        self.fill_mode, self.cval, self.interpolation_order = fill_mode, cval, interpolation_order
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.data_format: str = data_format or _keras_default("image_data_format", "channels_last")
        self.dtype: Any = dtype or _keras_default("floatx", "float32")
        #: Worker processes of each iterator; None: as many as there are cores, or none for few images.
        self.workers = check_workers(workers, pool)
        self._validation_split = validation_split or 0.0
        #: Statistics that `fit` computes; may be set instead.
        self.mean: Any = None
        self.std: Any = None
        self.zca_whitening_matrix: Any = None
        self._check()
        self._imply()

    def _check(self) -> None:
        if self.data_format not in ("channels_last", "channels_first"):
            raise ArgumentError(f"data_format = {self.data_format!r}: give 'channels_last' or 'channels_first'")
        self.channel_axis, self.row_axis, self.col_axis = (
            (3, 1, 2) if self.data_format == "channels_last" else (1, 2, 3)
        )
        check_number("zca_epsilon", self.zca_epsilon)
        if self.rescale is not None:
            check_number("rescale", self.rescale, ", such as 1 / 255, or None")
        function = self.preprocessing_function
        if function is not None and not callable(function):
            raise ArgumentTypeError(f"preprocessing_function = {function!r}: give a function of one image, or None")
        split = self._validation_split
        check_number("validation_split", split)
        if split and not 0 < split < 1:
            raise ArgumentError(f"validation_split = {split!r}: give a fraction between 0 and 1, both excluded, or 0")
        try:
            floating = np.issubdtype(np.dtype(self.dtype), np.floating)
        except (TypeError, ValueError, SyntaxError):  # whatever numpy makes of the text
            floating = False
        if not floating:
            raise ArgumentError(f"dtype = {self.dtype!r}: give a floating-point type, such as 'float32'")
        self.augmentation()

    def _imply(self) -> None:
        """Turn on settings that others need, with a warning, as Keras does."""

        def override(name: str, by: str, *, value: bool) -> None:
            if bool(getattr(self, name)) != value:
                warnings.warn(f"{by} = True sets {name} = {value}", stacklevel=4)
                setattr(self, name, value)

        if self.zca_whitening:
            override("featurewise_center", "zca_whitening", value=True)
            override("featurewise_std_normalization", "zca_whitening", value=False)
        if self.featurewise_std_normalization:
            override("featurewise_center", "featurewise_std_normalization", value=True)
        if self.samplewise_std_normalization:
            override("samplewise_center", "samplewise_std_normalization", value=True)

    def augmentation(self) -> Augment:
        """Return the random changes as the spec's model, from the attributes as they are now. Raises ArgumentError."""
        values = {name: _plain(getattr(self, name)) for name in _AUGMENT}
        values |= {name: bool(values[name]) for name in ("horizontal_flip", "vertical_flip")}
        try:
            return Augment(axes="keras", **values)
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0])
            raise ArgumentError(
                f"{name} = {getattr(self, name)!r}: {problem['msg'].removeprefix('Value error, ')}"
            ) from None

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Return the parameters of a random change of an image of this shape, under Keras's names.

        Draws from numpy's global generator, or from one of its own with `seed`: what Keras's class draws, either way.
        Raises ArgumentError and ArgumentTypeError.
        """
        shape, settings = check_shape(img_shape), self.augmentation()
        size = shape[-2:] if self.data_format == "channels_first" else shape[:2]
        return random_parameters(settings, size, legacy_random.draw(legacy_random.generator(seed), settings, 1)[0])

    def apply_transform(self, x: Images, transform_parameters: Mapping[str, Any]) -> Images:
        """Return an image of rank 3, changed by parameters such as `get_random_transform` returns; same type and shape.

        Raises ArgumentError for another rank or a parameter that is no number, ArgumentTypeError for no dict.
        """
        x, parameters = check_image(x), check_parameters(transform_parameters)
        if self.data_format == "channels_last":
            return apply_parameters(x, parameters, self.augmentation())
        moved = apply_parameters(np.moveaxis(x, 0, -1), parameters, self.augmentation())
        return np.moveaxis(moved, -1, 0)

    def random_transform(self, x: Images, seed: int | None = None) -> Images:
        """Return an image of rank 3, changed at random; same type and shape. Raises ArgumentError."""
        x = check_image(x)
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: Images) -> Images:
        """Return an image or a batch, normalised; floating-point input is changed in place.

        "Samplewise" statistics are taken over all that is given: give one image at a time. Raises ArgumentTypeError.
        """
        x = check_array("x", x)
        if not np.issubdtype(x.dtype, np.floating):
            x = x.astype(self.dtype)
        return standardize.standardize(self, x)

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Compute the statistics that `featurewise_…` and `zca_whitening` need from images (rank 4).

        Images are rescaled first; with `augment`, the statistics are those of `rounds` random changes of each. `seed`
        makes these repeatable, and the same as Keras's. Raises ArgumentError and ArgumentTypeError.
        """
        images = np.array(check_array("x", x), dtype=self.dtype)
        standardize.check_images(self, images, "fit")
        rounds = check_whole("rounds", rounds, 1)
        if self.rescale:
            images *= self.rescale
        if augment:
            images = np.concatenate(self._rounds(images, rounds, seed))
        standardize.fit(self, images)

    def _rounds(self, images: Images, rounds: int, seed: int | None) -> list[Images]:
        """Return all images changed at random, `rounds` times."""
        random = legacy_random.generator(seed)
        own = self.transforms_itself or type(self).random_transform is not ImageSettings.random_transform
        if own:
            seeds = random.randint(2**31 - 1, size=(rounds, len(images))).tolist()
            return [
                np.stack([self.random_transform(image, each) for image, each in zip(images, row, strict=True)])
                for row in seeds
            ]
        settings, first = self.augmentation(), self.data_format == "channels_first"
        last = np.moveaxis(images, 1, -1) if first else images
        changed = [
            change_randomly(last, settings, legacy_random.draw(random, settings, len(last))) for _ in range(rounds)
        ]
        return [np.moveaxis(each, -1, 1) if first else each for each in changed]

    @property
    def standardizes_itself(self) -> bool:
        """Whether a subclass has a `standardize` of its own."""
        return type(self).standardize is not ImageSettings.standardize

    @property
    def transforms_itself(self) -> bool:
        """Whether a subclass draws or changes images in a way of its own, which no worker knows."""
        kind = type(self)
        return (
            kind.get_random_transform is not ImageSettings.get_random_transform
            or kind.apply_transform is not ImageSettings.apply_transform
        )


def _keras_default(name: str, otherwise: str) -> str:
    """Return one of Keras's settings, if the script uses Keras at all."""
    keras = sys.modules.get("keras")
    return str(getattr(keras.config, name)()) if keras else otherwise


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays, and lists, as Python's numbers and tuples."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(_plain(each) for each in value) if isinstance(value, (list, tuple)) else value
