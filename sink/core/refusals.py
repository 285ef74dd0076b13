"""Explanations of why a subscription is refused: what was wrong and what to do. Pure functions of the plans."""

from collections.abc import Mapping

from penstock.protocol.fingerprint import version_of
from penstock.protocol.messages import Refused, SampleRequest, Subscribe
from penstock.protocol.plan import StreamPlan

#: Memory (bytes) that one trainer's window may take, unless the spec's window_mb allows more.
MAX_WINDOW_BYTES = 8_000_000_000
#: Trainers that one sink serves at most.
MAX_READERS = 256
#: Tasks that one trainer's window may span, and those of all trainers and recordings together: the ventilator keeps a
#: record of each, and reads all of them with every report.
MAX_WINDOW_TASKS, MAX_TASKS = 2**17, 2**18
#: Positions from here on are refused: far beyond any training, and the arithmetic stays within 64 bits.
MAX_POSITION = 2**60


def why_not(request: Subscribe, plans: Mapping[str, StreamPlan], readers: int, version: str) -> Refused | None:
    """Return why a sink of `version` with `readers` other trainers cannot serve a subscription, or None."""
    if refused := not_here(request, plans, version):
        return refused
    plan = plans[request.stream]
    if request.fingerprint and not plan.is_of(request.fingerprint):
        return Refused(kind="fingerprint", reason=other_fingerprint(request.fingerprint, plan))
    if request.rank >= request.world_size:
        reason = f"rank {request.rank} of world size {request.world_size}: ranks start at 0"
        return Refused(kind="position", reason=reason)
    if request.position >= MAX_POSITION:
        return Refused(kind="position", reason=f"position {request.position}: must be below {MAX_POSITION}")
    least = request.world_size * (plan.settings.batch_size if plan.settings.drop_remainder else 1)
    if plan.geometry.samples_per_epoch < least:
        return Refused(kind="position", reason=_no_batch(plan, request.world_size, least))
    window_bytes = plan.window(request.world_size) * plan.sample_bytes
    if window_bytes > max(MAX_WINDOW_BYTES, plan.settings.window_mb * 1e6):
        return Refused(kind="limit", reason=_too_large(request.world_size, window_bytes))
    tasks = plan.window(request.world_size) // plan.task_samples
    if tasks > MAX_WINDOW_TASKS:
        return Refused(kind="limit", reason=_too_many_tasks(request, plan, tasks))
    if readers >= MAX_READERS:
        return Refused(kind="limit", reason=f"{MAX_READERS} trainers are subscribed already")
    return None


def too_many_in_all(plan: StreamPlan, tasks: int) -> Refused | None:
    """Return why a subscription is refused after which all windows together span `tasks` tasks, or None."""
    if tasks <= MAX_TASKS:
        return None
    reason = (
        f"stream {plan.name!r}: with this trainer, all trainers' windows would span {tasks} tasks, more than "
        f"{MAX_TASKS}; let trainers start at the same position, make window_mb smaller or task_items larger"
    )
    return Refused(kind="limit", reason=reason)


def not_here(request: Subscribe | SampleRequest, plans: Mapping[str, StreamPlan], version: str) -> Refused | None:
    """Return why a stream delivers nothing at all, or None."""
    if request.version != version:
        asking = "trainer" if isinstance(request, Subscribe) else "command"
        reason = f"this {asking} runs Penstock {request.version}, the sink {version}: install the same"
        return Refused(kind="version", reason=reason)
    if request.stream not in plans:
        known = ", ".join(sorted(plans))
        return Refused(kind="stream", reason=f"no stream {request.stream!r} here; there are: {known}")
    return None


def other_fingerprint(given: str, plan: StreamPlan) -> str:
    """Return the message for a trainer whose position belongs to another stream."""
    here, older = plan.fingerprint, ""
    if version_of(given) == 1 and version_of(here) > 1:
        here = plan.fingerprint_1 or here
        older = "" if plan.fingerprint_1 else " (of an older release, which did not know all fields of this spec)"
    return (
        f"stream {plan.name!r}: the position belongs to fingerprint {given}{older}, the sink has {here}: the spec "
        "(seed, source, transform or order) or the files listed have changed; restore them, or start from position 0"
    )


def _no_batch(plan: StreamPlan, world_size: int, least: int) -> str:
    return (
        f"stream {plan.name!r} has {plan.geometry.samples_per_epoch} samples an epoch: with world size {world_size}, "
        f"batch_size = {plan.settings.batch_size} and drop_remainder = {str(plan.settings.drop_remainder).lower()} a "
        f"round takes at least {least}, so no batch would ever come; make batch_size or the number of trainers smaller"
    )


def _too_large(world_size: int, window_bytes: int) -> str:
    return (
        f"world size {world_size}: two rounds of batches take {window_bytes / 1e9:.1f} GB of the sink's memory; the "
        f"limit is {MAX_WINDOW_BYTES / 1e9:.0f} GB, or window_mb"
    )


def _too_many_tasks(request: Subscribe, plan: StreamPlan, tasks: int) -> str:
    return (
        f"world size {request.world_size}: the window of stream {plan.name!r} would span {tasks} tasks of "
        f"{plan.geometry.task_items} items, more than {MAX_WINDOW_TASKS}; make task_items larger, or window_mb, "
        "batch_size or the number of trainers smaller"
    )
