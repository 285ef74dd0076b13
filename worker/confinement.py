"""Decides which folders and URLs a worker may read.

A worker that was given `--root` reads below those roots only, whatever its ventilator says: a false ventilator can
neither name another folder or URL, nor lift the confinement to a root. Without `--root`, the worker trusts the
ventilator's roots.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from penstock.protocol.errors import SpecError
from penstock.protocol.messages import WorkerWelcome
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.service import host_name
from penstock.protocol.spec.roots import absolute_root, is_url


def permitted_roots(welcome: WorkerWelcome, given: Mapping[str, str], *, allow_outside: bool) -> dict[str, str]:
    """Return where each root that this worker may read lies on this host.

    `given` holds the roots of `--root`. If there are any, they are all that is permitted, and a spec's
    `allow_outside = true` counts only if the worker's own `allow_outside` is set too. Raises SpecError.
    """
    given = {name: absolute_root(root, Path.cwd()) for name, root in given.items()}
    for plan in welcome.streams:
        for name in root_names(plan):
            if given and name not in given:
                raise SpecError(
                    f"stream {plan.name!r} reads root {name!r}, which is not among the roots given to this worker "
                    f"({', '.join(sorted(given))}): add --root {name}=/path to permit it"
                )
        if given and plan.settings.source.allow_outside and not allow_outside:
            raise SpecError(
                f"stream {plan.name!r} has allow_outside = true, which follows links out of its root; a worker "
                "that was given --root permits this only with --allow-outside (`penstock up` follows links on one host "
                "unless the spec says allow_outside = false)"
            )
    roots = dict(given) or welcome.roots
    for plan in welcome.streams:
        _check_folder(plan.settings.source.root, roots)
    return roots


def root_names(plan: StreamPlan) -> Iterator[str]:
    """Yield the names of the roots that a worker reads for a stream: its source's, and that of its statistics."""
    yield plan.settings.source.root
    for transform in plan.settings.transforms:
        normalize = transform.normalize
        if normalize is not None and normalize.statistics_root is not None:
            yield normalize.statistics_root


def _check_folder(name: str, roots: Mapping[str, str]) -> None:
    """Raise SpecError if a root has no folder here; otherwise each of its items would be quarantined, one by one."""
    if name in roots and not is_url(roots[name]) and not Path(roots[name]).is_dir():
        raise SpecError(
            f"root {name!r} is {roots[name]!r} here, and that is no folder on {host_name()}: mount it, or say where it "
            f"lies by --root {name}=/path"
        )
