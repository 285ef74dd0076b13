"""Opens what makes a stream's targets. It is imported only where there are some: a start waits for imports."""

from typing import TYPE_CHECKING

from penstock.protocol.plan import StreamPlan

if TYPE_CHECKING:
    from penstock.worker.imaging.targets.makers import Targets


def open_targets(plan: StreamPlan) -> "Targets | None":
    """Return what makes a stream's targets; None if it has none."""
    if not plan.settings.targets:
        return None
    from penstock.worker.imaging.targets.makers import Targets  # noqa: PLC0415 - see above

    return Targets(plan)
