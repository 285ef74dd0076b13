"""A service with more peers, or tasks, than one turn of its loop handles: `python many_peers.py SCENARIO FOLDER`.

The service's own class over real sockets, with a clock of ours: time passes when the program says so. It ends with an
AssertionError or a line that says "fine".
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.protocol import wire
from penstock.protocol.messages import (
    Heartbeat,
    Hello,
    Progress,
    Reset,
    SinkHello,
    SinkWelcome,
    StreamNeed,
    Subscribe,
    Tasks,
    WorkerWelcome,
)
from penstock.protocol.runtime.service import Service
from penstock.protocol.transport.sockets import DRAIN, Endpoint, Hub
from penstock.protocol.version import __version__
from penstock.sink.service import Sink
from penstock.sink.settings import SinkSettings
from penstock.ventilator.service import Ventilator
from penstock.ventilator.settings import VentilatorSettings

#: Peers, each of which sends one message: more than are read in a turn. Of these, so many speak until the end.
PEERS, SPEAKING = DRAIN + 44, 20
#: Tasks that workers want at once: more than are leased in a turn.
SLOTS = 8 * 200
#: For how long the loop stands still (s): far longer than any silence that is allowed.
STILL_S = 60.0
#: Longest wait for messages to come (s).
DEADLINE_S = 200.0
#: When each peer was heard last, by the service's clock.
HeardAt = Callable[[], list[float]]


def start(folder: Path) -> tuple[Service, VentilatorSettings, Ventilator]:
    """Return a ventilator of a stream with tasks of one item."""
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{n}.jpg,a\n" for n in range(2 * SLOTS)))
    (folder / "spec.toml").write_text(
        f'[roots]\nhere = "{folder}"\n[streams.train.source]\nkind = "manifest"\nroot = "here"\npath = "list.csv"\n'
        "[streams.train]\ntask_items = 1\nmix = 1\n[streams.train.transform]\nresize = {height = 1, width = 1}\n"
    )
    settings = VentilatorSettings(spec=str(folder / "spec.toml"), bind=f"ipc://{folder}/v.sock", log_level="error")
    service = Service("ventilator", settings, dict)
    return service, settings, Ventilator(service, settings, None)


def leasing(folder: Path) -> None:
    """A ventilator whose workers want more tasks than are leased in a turn: its loop goes on until they have them."""
    service, settings, tested = start(folder)
    hub = Hub(service.log)
    worker = hub.dealer(settings.bind, wire.kinds(WorkerWelcome, Tasks, Heartbeat, Reset), "ventilator")
    others = [hub.dealer(settings.bind, wire.kinds(WorkerWelcome, Tasks, Heartbeat), "ventilator") for _ in range(7)]
    for number, each in enumerate([worker, *others]):
        name = f"w{number}"
        each.send(Hello(worker=name, incarnation=name, host="h", slots=SLOTS // 8, version=__version__))
    sink = hub.dealer(settings.bind, wire.kinds(SinkWelcome, Heartbeat), "ventilator")
    sink.send(SinkHello(incarnation="s", results="ipc:///nowhere", version=__version__))
    deadline, got = time.monotonic() + DEADLINE_S, 0
    while len(tested._core.workers) < 8 or tested._core.sinks.first.peer is None:
        assert time.monotonic() < deadline, "not all peers have joined"
        tested.turn(time.monotonic())
    sink.send(Progress(1, (StreamNeed("train", ((0, 2 * SLOTS),)),)))

    def all_came() -> bool:
        nonlocal got
        assert time.monotonic() < deadline, f"{got} of {SLOTS} tasks have come"
        for each in (worker, *others):
            got += sum(len(told.tasks) for _, told, _ in each.receive() if isinstance(told, Tasks))
        return got == SLOTS

    service.loop(tested.turn, all_came)


def ventilator(folder: Path) -> None:
    """A ventilator and its workers."""
    service, settings, tested = start(folder)
    hub = Hub(service.log)
    accepted = wire.kinds(WorkerWelcome, Tasks, Heartbeat, Reset)
    workers = [hub.dealer(settings.bind, accepted, "ventilator") for _ in range(PEERS)]
    for number, worker in enumerate(workers):
        worker.send(Hello(worker=f"w{number}", incarnation=f"w{number}", host="h", slots=1, version=__version__))
    judged(tested.turn, workers, lambda: [worker.live.heard_at for worker in tested._core.workers.values()])


def sink(folder: Path) -> None:
    """A sink and its trainers, which wait for a ventilator."""
    ventilator, results, trainers_at = (f"ipc://{folder}/{name}.sock" for name in "vrt")
    settings = SinkSettings(ventilator=ventilator, results=results, bind=trainers_at, log_level="error")
    service = Service("sink", settings, dict)
    tested = Sink(service, settings)
    hub = Hub(service.log)
    trainers = [hub.dealer(settings.bind, wire.kinds(Heartbeat, Reset), "sink") for _ in range(PEERS)]
    for trainer in trainers:
        trainer.send(Subscribe(stream="train", limit=1, version=__version__))
    known = tested._core.trainers
    judged(tested.turn, trainers, lambda: [trainer.live.heard_at for trainer in known._waiting.values()])


def judged(turn: Callable[[float], float], peers: Sequence[Endpoint], heard_at: HeardAt) -> None:
    """Peers whose messages wait to be read are not lost, whatever the clock says; those that say nothing are."""
    deadline, now = time.monotonic() + DEADLINE_S, time.monotonic()
    while len(heard_at()) < PEERS:
        assert time.monotonic() < deadline, f"{len(heard_at())} of {PEERS} peers have joined"
        turn(now)
    now += STILL_S
    for peer in peers:
        peer.send(Heartbeat())
    while any(at < now for at in heard_at()):
        assert time.monotonic() < deadline, "not all heartbeats have come"
        turn(now)
        assert len(heard_at()) == PEERS, "peers were lost whose heartbeats had not been read"
    for _ in range(15):
        now += 1.0
        for peer in peers[:SPEAKING]:
            peer.send(Heartbeat())
        while sum(at == now for at in heard_at()) < SPEAKING:
            assert time.monotonic() < deadline, "not all heartbeats have come"
            turn(now)
    assert len(heard_at()) == SPEAKING, "silent peers were not lost"


if __name__ == "__main__":
    {"ventilator": ventilator, "sink": sink, "leasing": leasing}[sys.argv[1]](Path(sys.argv[2]))
    print("fine", flush=True)  # noqa: T201 - what the test waits for
