"""`penstock.ray.start` and `penstock.ray.connect`: what a program of a Ray job calls."""

import functools
import io
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from penstock.commands.keys import ExportSettings, InitSettings, export, init
from penstock.launcher.addresses import HeldPorts
from penstock.launcher.local_sinks import check_sinks
from penstock.launcher.worker_count import WorkerCount, Workers
from penstock.protocol.errors import DeadlineError, SpecError, StackError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.roots import absolute_root
from penstock.protocol.spec.spec import Spec, as_spec
from penstock.protocol.transport.own_files import open_own
from penstock.ray.actors import StackActor
from penstock.ray.api import on_node, ray
from penstock.ray.processes import PORTS
from penstock.ray.settings import PER_NODE, Reading, SinkCount, StackSettings, TrainerSettings
from penstock.trainer.client.feed import Feed
from penstock.trainer.client.ranks import find_rank

#: Seconds for the services to list the sources, and for an answer of an actor.
_START_S, _ANSWER_S = 300.0, 30.0
#: Seconds for the end. The actor needs about 65 at most: its thread, workers, sinks and services, one after the other.
_STOP_S = 90.0
#: Seconds for a sink's actor to start on its node, and to answer a feed that has lost it: the feed asks again.
_SINK_S, _AGAIN_S = 120.0, 5.0
_LOOK_S = 0.2


class RayStack:
    """A running stack of a Ray job; a context manager. Made by `penstock.ray.start`."""

    def __init__(self, actor: Any, name: str, workers: tuple[int, int]) -> None:  # noqa: ANN401 - Ray's
        """Take over a started actor."""
        self._actor, self.name, self._workers = actor, name, workers

    def __repr__(self) -> str:
        """Show name and bounds."""
        least, most = self._workers
        return f"<RayStack {self.name!r} with {least if least == most else f'{least} to {most}'} workers>"

    def __enter__(self) -> Self:
        """Return the stack."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def feed(self, stream: str = "train", **options: Any) -> Feed:  # noqa: ANN401 - those of `connect`
        """Return a feed, as `penstock.ray.connect` does."""
        return connect(stream, name=self.name, **options)

    def scale(self, workers: int) -> None:
        """Keep this many workers. Raises StackError if their number follows the need, and DeadlineError."""
        if self._workers[0] != self._workers[1]:
            raise StackError(f"{self!r} scales by itself: start it with a number of workers to scale it by hand")
        if isinstance(workers, bool) or workers < 0:
            raise StackError(f"workers = {workers!r}: give a whole number, 0 or more")
        _ask(self._actor.scale, workers)
        self._workers = (workers, workers)

    def snapshot(self) -> Snapshot:
        """Return the state of the stack. Raises DeadlineError without an answer, StackError if it cannot run."""
        snapshot: Snapshot = _ask(self._actor.snapshot)
        return snapshot

    def failure(self) -> str:
        """Return why a service, or lately a worker, cannot run, or nothing."""
        failure: str = _ask(self._actor.failure)
        return failure

    def stop(self) -> None:
        """End workers and services; does nothing if they have ended."""
        with suppress(ray.exceptions.RayError):
            ray.get(self._actor.stop.remote(), timeout=_STOP_S)
        ray.kill(self._actor)


def start(  # noqa: PLR0913 - by keyword, each with a default
    spec: str | Path | Mapping[str, Any] | Spec,
    *,
    workers: Workers = (1, 64),
    sinks: SinkCount = 1,
    workers_per_actor: int = 1,
    roots: Mapping[str, str | os.PathLike[str]] | None = None,
    cache: str = "",
    name: str = "penstock",
) -> RayStack:
    """Start a stack in this Ray job: services on this node, workers wherever Ray has room; return when it is ready.

    `workers` is a number or bounds such as (2, 64), between which their number follows the need; each reserves a CPU,
    `workers_per_actor` of them on one node. Ray's autoscaler adds nodes for those that have none. `sinks` is "per-node"
    for a sink on every node where ranks read, or a number; each of several reserves a CPU. `roots` maps root names to
    folders of the nodes, `cache` is the folder of each node for decoded images. `name` is that of the actor, which
    `penstock.ray.connect` looks for. The stack ends with the program, or with `stop`.

    Raises SpecError, and StackError if Ray does not run or the stack cannot start.
    """
    if sinks != PER_NODE:
        sinks = _number(sinks)
    if not 1 <= workers_per_actor <= 1000:  # noqa: PLR2004 - more than a node has
        raise SpecError(f"workers_per_actor = {workers_per_actor!r}: give 1 to 1000")
    if not ray.is_initialized():
        raise StackError("Ray does not run in this program: call ray.init() first")
    count = WorkerCount.of(workers)
    bounds = count.bounds or (count.first, count.first)
    given, here = as_spec(spec), ray.util.get_node_ip_address()
    mapped = {key: absolute_root(str(root), Path.cwd()) for key, root in (roots or {}).items()}
    given.map_roots(mapped)
    with HeldPorts(3, PORTS) as ports:
        ventilator, results, trainers = (f"tcp://{here}:{port}" for port in ports.numbers)
        settings = StackSettings(
            token=uuid.uuid4().hex,
            spec=given.model_dump_json(),
            ventilator=ventilator,
            results=results,
            trainers=trainers,
            keys=_bundles(),
            roots=mapped,
            workers=bounds,
            workers_per_actor=workers_per_actor,
            cache=cache,
            sinks=sinks,
        )
        strategy = on_node(ray.get_runtime_context().get_node_id())
        options = {"name": name, "num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 8}
        try:
            actor = ray.remote(StackActor).options(scheduling_strategy=strategy, **options).remote(settings)
        except ValueError as error:  # the name is taken
            raise StackError(
                f"name = {name!r}: {error}; stop the other stack, or give this one another name"
            ) from error
        stack = RayStack(actor, name, bounds)
        try:
            _wait_until_ready(stack, actor)
        except BaseException:
            stack.stop()
            raise
        return stack


def connect(
    stream: str = "train",
    *,
    name: str = "penstock",
    rank: int | None = None,
    world_size: int | None = None,
    prefetch: int | None = None,
    timeout_s: float = 120.0,
) -> Feed:
    """Return a feed of a stack that this Ray job started, in any task, actor or worker of Ray Train.

    `rank` and `world_size` are by default those of Ray Train, or as in `penstock.connect`. Of several sinks, the feed
    reads from the one of this node, or from that of its rank; it follows a sink that moves. Raises StackError if there
    is no such stack, and DeadlineError if no node has room for the sink.
    """
    try:
        actor = ray.get_actor(name)
    except ValueError as error:
        raise StackError(f"name = {name!r}: no such stack in this Ray job: call penstock.ray.start first") from error
    if rank is None and world_size is None:
        rank, world_size = _place_in_ray_train()
    place = find_rank(rank, world_size)
    reading = Reading(ray.get_runtime_context().get_node_id(), place.rank, place.world_size)
    known = _where(actor, reading, _SINK_S)
    keys = Path(_keys_folder().name, f"{uuid.uuid4().hex}.keys")
    with open_own(keys, "w", encoding="ascii") as file:
        file.write(known.keys)
    return Feed(
        known.address,
        stream,
        rank=place.rank,
        world_size=place.world_size,
        prefetch=prefetch,
        timeout_s=timeout_s,
        keys=str(keys),
        find=lambda: _where(actor, reading, _AGAIN_S).address,
    )


def _where(actor: Any, reading: Reading, seconds: float) -> TrainerSettings:  # noqa: ANN401 - Ray's
    """Return what a rank needs to connect to its sink. Raises StackError, and DeadlineError if it does not start."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        sink = _ask(actor.sink, reading, seconds=max(left, _LOOK_S)) or actor
        try:
            known: TrainerSettings = ray.get(sink.trainer.remote(), timeout=max(left, _LOOK_S))
        except ray.exceptions.RayTaskError as error:
            raise StackError(str(error.cause)) from error
        except ray.exceptions.GetTimeoutError as error:
            raise DeadlineError(
                f"the sink of rank {reading.rank} did not start within {seconds:.0f} s: `ray status` says whether a "
                "node has room for it"
            ) from error
        except ray.exceptions.RayError as error:  # it could not start, or its node is gone: there is another one
            if time.monotonic() > deadline:
                raise StackError(f"the sink of rank {reading.rank} cannot run: {error}") from error
            time.sleep(_LOOK_S)
        else:
            return known


@functools.cache
def _keys_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return this process's folder for keys, which is removed when it ends."""
    return tempfile.TemporaryDirectory(prefix="penstock-keys-")


def _place_in_ray_train() -> tuple[int | None, int | None]:
    """Return rank and world size where this process is a worker of Ray Train."""
    train: Any = sys.modules.get("ray.train")
    if train is None:
        return None, None
    try:
        context = train.get_context()
        return context.get_world_rank(), context.get_world_size()
    except RuntimeError:  # this is no worker of Ray Train
        return None, None


def _ask(method: Any, *arguments: object, seconds: float = _ANSWER_S) -> Any:  # noqa: ANN401 - Ray's
    try:
        return ray.get(method.remote(*arguments), timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise DeadlineError(f"the stack's actor did not answer within {seconds:.0f} s") from error
    except ray.exceptions.RayTaskError as error:
        raise StackError(str(error.cause)) from error
    except ray.exceptions.RayActorError as error:
        raise StackError(f"the stack has ended: {error}") from error


def _wait_until_ready(stack: RayStack, actor: Any) -> None:  # noqa: ANN401 - Ray's
    """Wait until the ventilator has listed the sources. Raises StackError and DeadlineError."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            stack.snapshot()
        except (DeadlineError, StackError) as error:
            failure = ""
            with suppress(DeadlineError):  # the actor itself has not started yet
                failure = _ask(actor.service_failure)
            if failure or time.monotonic() > deadline:
                raise StackError(failure or f"waited {_START_S:.0f} s for the ventilator: {error}") from error
            time.sleep(_LOOK_S)
        else:
            return


def _bundles() -> dict[str, str]:
    """Return new keys of all roles, as texts of bundles."""
    with tempfile.TemporaryDirectory(prefix="penstock-keys-") as folder, redirect_stdout(io.StringIO()):
        keys = str(Path(folder, "keys"))
        init(InitSettings(folder=keys))
        texts: dict[str, str] = {}
        for role in ("ventilator", "sink", "worker", "trainer"):
            path = Path(folder, f"{role}-{uuid.uuid4().hex}")
            export(ExportSettings(name=role, target=str(path), bundle=True, keys=keys))
            texts[role] = path.read_text(encoding="ascii")
    return texts


def _number(sinks: object) -> int:
    try:
        return check_sinks(sinks)
    except SpecError as error:
        raise SpecError(f"{error}; or {PER_NODE!r} for one on every node where ranks read") from error
