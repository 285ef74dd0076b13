"""Custom transforms: finds and calls the user's functions installed on this host, and checks their results.

Results must match the schema. Nothing that came over a socket is executed: the spec brings a name and parameters, and
the code is what was installed on this host.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from penstock.protocol.errors import ItemError, PenstockError, SpecError, TransformError
from penstock.protocol.order import DRAW_CUSTOM, sample_generator
from penstock.protocol.plan import FieldSchema
from penstock.protocol.spec.custom import IDENTITY, Custom
from penstock.protocol.wire import Array
from penstock.worker.imaging import map_style

#: The entry-point group in which packages publish their transforms.
GROUP = "penstock.transforms"

#: What users' code may raise: a script that calls sys.exit() must not end the worker.
_RAISED = (Exception, SystemExit)

Sample = dict[str, Array]
#: `(sample, rng, **parameters) -> sample`; whatever it returns is checked.
Function = Callable[..., Any]


def load(where: str, custom: Custom, datasets: Collection[str] = ()) -> Function:
    """Return the function that a spec names; `where` is what errors call it by. `datasets` may be imported.

    Raises SpecError if it is not installed here, twice, in another version, cannot be imported or cannot be called with
    the spec's parameters.
    """
    if custom.name == map_style.NAME:
        return map_style.load_map_style(where, custom.parameters, datasets)
    point = _find(where, custom)
    try:
        function = point.load()
    except _RAISED as error:
        raise SpecError(f"{where}: {_says(point)} cannot be imported: {_words(error)}") from error
    if not callable(function):
        raise SpecError(f"{where}: {_says(point)} is {function!r}, and that is no function")
    try:
        with suppress(ValueError):  # a compiled function that does not tell its parameters
            inspect.signature(function).bind({}, None, **custom.parameters)
    except TypeError as error:
        raise SpecError(
            f"{where}.parameters: {_says(point)} cannot be called with (sample, rng"
            f"{''.join(f', {name}={value!r}' for name, value in custom.parameters.items())}): {error}"
        ) from error
    found: Function = function
    return found


def _find(where: str, custom: Custom) -> EntryPoint:
    published = entry_points(group=GROUP)
    found = [point for point in published if point.name == custom.name]
    if not found:
        known = ", ".join(sorted(map(_says, published))) or "none"
        raise SpecError(
            f"{where}: no custom transform {custom.name!r} is installed here (installed: {known}): install the package "
            f"that publishes it in entry-point group {GROUP!r}, on every host that runs a worker"
        )
    if len(found) > 1:
        raise SpecError(
            f"{where}: several packages publish a transform of this name: {', '.join(map(_says, found))}; uninstall "
            "all but one, or workers would choose differently"
        )
    version = found[0].dist.version if found[0].dist else None
    if custom.version is not None and version != custom.version:
        raise SpecError(
            f"{where}.version = {custom.version!r}: installed here is {_says(found[0])}; install that version here, or "
            "change the spec"
        )
    return found[0]


def _says(point: EntryPoint) -> str:
    return f"{point.name} ({f'{point.dist.name} {point.dist.version}' if point.dist else point.value})"


def _words(error: BaseException) -> str:
    """Return an exception's type and text; even what says it may raise, and none of that is ours."""
    try:
        return f"{type(error).__name__}: {error}"
    except _RAISED:
        return f"{type(error).__name__}, which does not say what is wrong"


class CustomTransforms:
    """A stream's custom transforms, one after the other; for use by one thread at a time."""

    def __init__(
        self,
        stream: str,
        customs: Sequence[Custom],
        schema: Sequence[FieldSchema],
        seed: int,
        datasets: Collection[str] = (),
    ) -> None:
        """Load them; `schema` is what the first one gets, `datasets` may be imported. Raises SpecError."""
        self._seed = seed
        self._names = [field.name for field in schema]
        fields = {field.name: field for field in schema}
        self._steps: list[_Step] = []
        for index, custom in enumerate(customs):
            where = f"stream {stream!r}: transform.custom[{index}] = {custom.name!r}"
            fields |= {name: FieldSchema.of(name, made) for name, made in custom.produces.items()}
            self._steps.append(_Step(custom, load(where, custom, datasets), tuple(fields.values())))
        #: The fields that the last one leaves.
        self.schema = tuple(fields.values())

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._steps)

    def run(
        self, epoch: int, made: Sequence[Array], patches: int, out: Sequence[Array], keys: Sequence[int] | None = None
    ) -> dict[int, PenstockError]:
        """Change a task's samples; return why items failed, by their place among the items of `made`.

        `keys`: what keys the draws of each item of `made`, by default its index.

        `made` are the fields before, samples first: by item, then by patch. `out` are those after, and may be the same
        memory: the samples of the items that did not fail stand at the front of it, in order.
        """
        failed: dict[int, PenstockError] = {}
        row = 0
        for item in range(len(made[0]) // patches):
            try:
                for patch in range(patches):
                    before = {
                        name: array[item * patches + patch, ...] for name, array in zip(self._names, made, strict=True)
                    }
                    after = self.apply(dict(before), epoch, keys[item] if keys else None)
                    values = [_apart(after[field.name], before.get(field.name)) for field in self.schema]
                    for value, array in zip(values, out, strict=True):
                        array[row + patch, ...] = value
            except (ItemError, TransformError) as error:
                failed[item] = error
            else:
                row += patches
        return failed

    def apply(self, sample: Sample, epoch: int, key: int | None = None) -> Sample:
        """Return one sample as the last transform leaves it; the arrays given may be changed.

        `key` keys its draws; default: the item's index.

        Raises ItemError if a transform raised, and TransformError if one returned what the spec does not say.
        """
        item, patch = (int(sample[name]) for name in IDENTITY)
        rng = sample_generator(self._seed, epoch, item if key is None else key, patch, DRAW_CUSTOM)
        for step in self._steps:
            sample = step.apply(sample, rng)
            if (item, patch) != (found := tuple(int(sample[name]) for name in IDENTITY)):
                raise TransformError(
                    f"custom transform {step.name!r} turned item {item}, patch {patch} into item {found[0]}, patch "
                    f"{found[1]}: these two say which sample it is and must come back as they were"
                )
        return sample


def _apart(value: Array, own: Array | None) -> Array:
    """Return what a field becomes, apart from memory of other fields, which may be written before it."""
    return value if value is own or value.base is None else value.copy()


class _Step:
    """One transform and what it must return."""

    def __init__(self, custom: Custom, function: Function, schema: Sequence[FieldSchema]) -> None:
        self.name = custom.name
        self._parameters, self._function = custom.parameters, function
        self._fields = {field.name: (np.dtype(field.dtype), field.shape) for field in schema}

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        try:
            returned = self._function(sample, rng, **self._parameters)
        except _RAISED as error:  # whatever it raises, the item is named and the stream goes on
            raise ItemError(f"custom transform {self.name!r} raised {_words(error)}") from error
        if not isinstance(returned, Mapping):
            raise TransformError(
                f"custom transform {self.name!r} returned {type(returned).__name__}: it must return the sample, a dict "
                "of arrays"
            )
        try:  # a mapping of the user's own may do anything
            names = [str(name) for name in returned]
        except _RAISED as error:
            raise TransformError(
                f"custom transform {self.name!r} returned a sample that does not tell its fields: {_words(error)}"
            ) from error
        if set(names) != set(self._fields):
            raise TransformError(
                f"custom transform {self.name!r} returned the fields {', '.join(names)}; the schema says "
                f"{', '.join(self._fields)}: return all of these, and say in the spec what it adds (produces)"
            )
        return {name: self._check(name, returned) for name in self._fields}

    def _check(self, name: str, returned: Mapping[str, object]) -> Array:
        try:
            array = np.asarray(returned[name])
        except _RAISED as error:  # lists of different lengths, tensors on a GPU, what is computed only when asked for
            raise TransformError(
                f"custom transform {self.name!r} returned {name}, which is no array: {_words(error)}"
            ) from error
        dtype, shape = self._fields[name]
        # Names are slow to find, and only tell the same types in another byte order apart, which are fine.
        if array.shape != shape or (array.dtype != dtype and array.dtype.name != dtype.name):
            raise TransformError(
                f"custom transform {self.name!r} returned {name} {array.dtype.name}{array.shape}; the schema "
                f"says {dtype.name}{shape}: return that, or say in the spec what it produces"
            )
        return array
