"""Bytes a second through the sink, compared with a bare relay of the same shape without Penstock.

Both sides: two producer processes push messages of about 2 MB, one process in the middle takes and forwards them to one
consumer under credit. On Penstock's side the producers are workers that do nothing, the middle is the real sink.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import structlog
import zmq

import penstock
from penstock.protocol import wire
from penstock.protocol.instructions import Send
from penstock.protocol.messages import (
    Done,
    Drain,
    Heartbeat,
    Hello,
    Intervals,
    Reset,
    Result,
    SinkAddress,
    Task,
    Tasks,
    Timings,
    WorkerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.version import __version__
from penstock.trainer.client.feed import Feed
from penstock.worker.session import Configure, Run, WorkerInstruction, WorkerSession
from penstock.worker.sink_links import SinkLinks

#: Side of the square gray image, and how many make a task and a batch.
SIDE, ITEMS = 512, 8
MESSAGE_BYTES = SIDE * SIDE * ITEMS
#: What the sink may hold (MB). The bare relay holds 8 messages; a window far beyond the caches costs both sides speed.
WINDOW_MB = 64
#: Messages that pass before a measurement begins.
_WARM = 50


def write_spec(folder: Path, window_mb: int = WINDOW_MB) -> Path:
    """Write a spec over a manifest of images that are never opened."""
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{i:06d}.jpg,c{i % 10}\n" for i in range(100_000)))
    spec = folder / "spec.toml"
    spec.write_text(
        f'[roots]\nhere = "{folder}"\n[streams.train]\ntask_items = {ITEMS}\nbatch_size = {ITEMS}\n'
        f"window_mb = {window_mb}\n"
        '[streams.train.source]\nkind = "manifest"\nroot = "here"\npath = "list.csv"\n'
        f'[streams.train.transform]\ncolor = "gray"\nresize = {{height = {SIDE}, width = {SIDE}}}\n'
    )
    return spec


class SimulatedWorker:
    """Says hello as a worker does, and pushes the same arrays for each task."""

    def __init__(self, hub: Hub, address: str, links: SinkLinks, slots: int) -> None:
        """Say hello."""
        self._endpoint = hub.dealer(address, wire.kinds(WorkerWelcome, Tasks, Heartbeat, Drain, Reset), "ventilator")
        self._links, self._name = links, uuid.uuid4().hex[:8]
        hello = Hello(worker=self._name, incarnation=self._name, host="bench", slots=slots, version=__version__)
        self._session = WorkerSession(hello, Intervals(), time.monotonic())
        self._plan: StreamPlan | None = None
        self._arrays: list[wire.Array] = []
        self._sinks: Sequence[SinkAddress] = ()
        self._execute(self._session.start(time.monotonic()))

    def turn(self) -> None:
        """Handle all that has arrived."""
        for _, message, _ in self._endpoint.receive():
            self._execute(self._session.receive(message, time.monotonic()))
        self._execute(self._session.tick(time.monotonic()))

    def _execute(self, instructions: Sequence[WorkerInstruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send(message=message):
                    self._endpoint.send(message)
                case Configure(welcome):
                    self._plan, self._sinks = welcome.streams[0], welcome.sinks
                    self._arrays = [np.zeros((ITEMS, *field.shape), field.dtype) for field in self._plan.schema]
                case Run(task):
                    self._push(task)
                    done = (Done(key=task.key, timings=Timings()),)
                    self._execute(self._session.finished(done, time.monotonic()))
                case _:
                    pass  # notes; nothing here drains or is refused

    def _push(self, task: Task) -> None:
        assert self._plan is not None  # noqa: S101 - tasks only come after a welcome
        result = Result.model_construct(
            key=task.key,
            plan=self._plan.token,
            worker=self._name,
            lease=task.lease,
            frames=wire.frames_of(self._plan.schema, self._arrays),
        )
        self._links.follow(self._sinks, 0)
        deliveries = self._links.deliveries(task, self._plan, result, self._arrays, None)
        until = time.monotonic() + 10.0
        while deliveries and time.monotonic() < until:
            self._links.push(deliveries, 0.2)


def run_workers(address: str, count: int, slots: int) -> None:
    """Be `count` workers in one process until killed; they share its links to the sinks."""
    hub = Hub(structlog.get_logger())
    links = SinkLinks(hub)
    workers = [SimulatedWorker(hub, address, links, slots) for _ in range(count)]
    while True:
        hub.wait(0.1)
        for worker in workers:
            worker.turn()


def through_sink(transport: str, workers: int, seconds: float) -> float:
    """Return the bytes a second that reach a feed through a real ventilator and sink."""
    with tempfile.TemporaryDirectory(prefix="pk-") as name:
        folder = Path(name)
        places = _addresses(transport, folder)
        spec = str(write_spec(folder))
        quiet = ["--log-level", "error"]
        commands = [
            ["penstock.ventilator", "--spec", spec, "--bind", places[0], *quiet],
            ["penstock.sink", "--ventilator", places[0], "--results", places[1], "--bind", places[2], *quiet],
        ]
        services = [subprocess.Popen([sys.executable, "-P", "-m", *command]) for command in commands]
        each = -(-workers // 2)
        children = [_spawn(run_workers, places[0], each, 4) for _ in range(2)]
        try:
            with penstock.connect(places[2], "train", prefetch=8, timeout_s=60) as feed:
                return _drain(feed, seconds)
        finally:
            for child in children:
                child.kill()
            for service in services:
                service.terminate()
                service.wait(10)


def _drain(feed: Feed, seconds: float) -> float:
    total, began = 0, 0.0
    while True:
        for batch in feed:
            now = time.perf_counter()
            if not began and feed.stats.batches > _WARM:
                began, total = now, 0
            total += batch["image"].nbytes
            if began and now - began > seconds:
                return total / (now - began)


def bare_relay(transport: str, seconds: float) -> float:
    """Return the bytes a second of the same shape in bare pyzmq: PUSH, PULL to ROUTER, DEALER with credit."""
    with tempfile.TemporaryDirectory(prefix="pk-") as name:
        places = _addresses(transport, Path(name))
        children = [_spawn(_bare_middle, places[1], places[2]), *(_spawn(_bare_producer, places[1]) for _ in range(2))]
        try:
            with zmq.Context() as context, context.socket(zmq.DEALER) as consumer:
                consumer.setsockopt(zmq.LINGER, 0)
                consumer.connect(places[2])
                consumer.send(b"8")
                count, began = 0, 0.0
                while True:
                    if not consumer.poll(30_000):
                        raise TimeoutError("the bare relay passes nothing")
                    consumer.recv_multipart(copy=False)
                    consumer.send(b"1")
                    count += 1
                    now = time.perf_counter()
                    if count == _WARM:
                        began = now
                    if began and now - began > seconds:
                        return (count - _WARM) * MESSAGE_BYTES / (now - began)
        finally:
            for child in children:
                child.kill()


def _bare_middle(pull_at: str, route_at: str) -> None:
    context = zmq.Context()
    pull, router = context.socket(zmq.PULL), context.socket(zmq.ROUTER)
    pull.setsockopt(zmq.RCVHWM, 8)
    pull.bind(pull_at)
    router.bind(route_at)
    peer, credit = b"", 0
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(pull, zmq.POLLIN)
    while True:
        ready = dict(poller.poll(1000))
        if router in ready:
            peer, grant = router.recv_multipart()
            credit += int(grant)
        if pull in ready and credit:
            router.send_multipart([peer, *pull.recv_multipart(copy=False)], copy=False)
            credit -= 1


def _bare_producer(push_to: str) -> None:
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.setsockopt(zmq.SNDHWM, 4)
    push.connect(push_to)
    payload = memoryview(bytes(MESSAGE_BYTES))
    while True:
        push.send_multipart([b"kind", b"header", payload], copy=False)


def _spawn(target: object, *arguments: object) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
    process.start()
    return process


def _addresses(transport: str, folder: Path) -> list[str]:
    if transport == "ipc":
        return [f"ipc://{folder}/{name}.sock" for name in "vrt"]
    base = 20_000 + os.getpid() % 20_000
    return [f"tcp://127.0.0.1:{base + offset}" for offset in range(3)]


if __name__ == "__main__":
    for transport in ("ipc", "tcp"):
        for workers in (2, 200):
            print(
                f"{transport}, {workers:3d} workers: {through_sink(transport, workers, 4.0) / 1e9:.2f} GB/s", flush=True
            )
        print(f"{transport}, bare relay : {bare_relay(transport, 4.0) / 1e9:.2f} GB/s", flush=True)
