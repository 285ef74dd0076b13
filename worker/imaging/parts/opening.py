"""Opens what makes a stream's samples. What only mixtures need is imported for a mixture: a start waits for imports."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.source import MIXTURE
from penstock.worker.imaging.cache.images import Cache
from penstock.worker.imaging.pipeline import Pipeline

if TYPE_CHECKING:
    from penstock.worker.imaging.parts.pipeline import AnyPipeline


def open_any(
    plan: StreamPlan,
    roots: Mapping[str, str | Path],
    datasets: Collection[str] = (),
    cache: Cache | None = None,
) -> "AnyPipeline":
    """Return what makes a stream's samples. Raises SpecError and SourceError."""
    if plan.settings.source.kind_name != MIXTURE:
        return Pipeline(plan, roots, datasets, cache)
    from penstock.worker.imaging.parts.pipeline import open_pipeline  # noqa: PLC0415 - see above

    return open_pipeline(plan, roots, datasets, cache)
