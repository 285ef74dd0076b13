"""Pins a spec's normalisation: copies the numbers and the digest of its statistics file into the spec.

The numbers then travel with the spec and enter its fingerprint. Only a worker that whitens reads the file again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.source import Source
from penstock.protocol.spec.statistics import Statistics
from penstock.protocol.spec.transform import Transform


def pinned(settings: Normalize, source: Source, roots: Mapping[str, str | Path], channels: int) -> Normalize:
    """Return settings with the mean, the deviation and the digest of their statistics file. Raises SpecError."""
    if settings.statistics is not None:
        folder, path = statistics_file(settings, source, roots)
        found, digest = Statistics.load(Path(folder) / path, sha256=settings.statistics_sha256)
        changes: dict[str, Any] = {"statistics_sha256": digest}
        for name in ("mean", "std"):
            numbers = getattr(found, name)
            if getattr(settings, name) is None and numbers is not None:
                changes[name] = tuple(numbers.tolist())
        settings = settings.model_copy(update=changes)
        for wanted, name in ((settings.centers_features, "mean"), (settings.scales_features, "std")):
            if wanted and getattr(settings, name) is None:
                raise SpecError(f"normalize.statistics = {settings.statistics!r} holds no {name}, which the spec needs")
        if settings.zca_whitening and found.zca is None:
            raise SpecError(f"normalize.statistics = {settings.statistics!r} holds no zca, which the spec needs")
    try:
        settings.check(channels)
    except ValueError as error:
        raise SpecError(str(error)) from None
    return settings


def with_statistics(name: str, transform: Transform, source: Source, roots: Mapping[str, str | Path]) -> Transform:
    """Return a transform with what its statistics file holds. Raises SpecError, which begins with the name."""
    if transform.normalize is None:
        return transform
    try:
        normalize = pinned(transform.normalize, source, roots, transform.image_shape[2])
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from error
    return transform.model_copy(update={"normalize": normalize})


def statistics_file(settings: Normalize, source: Source, roots: Mapping[str, str | Path]) -> tuple[str, str]:
    """Return the statistics' root on this host and their path below it. Raises SpecError if it has no folder here."""
    root = settings.statistics_root or getattr(source, "root", None)
    if root is None:
        raise SpecError(f"normalize.statistics = {settings.statistics!r}: say below which root, by statistics_root")
    if root not in roots:
        raise SpecError(
            f"normalize.statistics = {settings.statistics!r} lies below root {root!r}, which has no folder here: "
            f"give --root {root}=/path"
        )
    return str(roots[root]), settings.statistics or ""
