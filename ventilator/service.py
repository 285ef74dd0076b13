"""`penstock ventilator`: lists the sources, then leases tasks over one ROUTER socket until it is told to stop."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pydantic import Field

from penstock.protocol import wire
from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    ListPaths,
    Progress,
    Refused,
    SinkHello,
    StatusRequest,
)
from penstock.protocol.runtime.metrics import Metrics
from penstock.protocol.runtime.service import Service, run, spare_collector
from penstock.protocol.runtime.settings import ServiceSettings
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.spec import Spec, load_spec
from penstock.protocol.transport.addresses import check_exposure
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, Address
from penstock.protocol.transport.sockets import ByRole, Endpoint
from penstock.protocol.version import __version__
from penstock.ventilator.core.leases import LeasePolicy, Leases
from penstock.ventilator.monitoring.metrics import METRICS, fill
from penstock.ventilator.monitoring.snapshots import Own, Snapshots
from penstock.ventilator.sources.catalog import Catalog

if TYPE_CHECKING:
    from penstock.ventilator.dashboard.server import Dashboard

#: Lines of the quarantine ledger that the dashboard shows: the newest.
LEDGER_SHOWN = 200
#: Seconds between two looks at the whole topology.
_OBSERVE_S = 1.0
#: Who may say what; a trainer, or who has a trainer's key, may look.
_ACCEPTED: ByRole = {
    "worker": wire.kinds(Hello, Finished, Heartbeat, Goodbye, StatusRequest),
    "sink": wire.kinds(SinkHello, Progress, ListPaths, Heartbeat, Goodbye, StatusRequest),
    "trainer": wire.kinds(StatusRequest),
}


class VentilatorSettings(ServiceSettings):
    """Hands out tasks: reads the spec, lists the sources, leases work to workers."""

    spec: str
    """Path of the spec (TOML)."""
    bind: Address = OWN_VENTILATOR
    """Address for workers and the sink: tcp://host:port, ipc:///path, or local:NAME for a Unix socket in a folder that
    only this user may enter."""
    root: dict[str, str] = Field(default_factory=dict)
    """name=/path: where a root of the spec lies on this host; goes before the spec's own [roots]."""
    heartbeat_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between heartbeats, for every service."""
    silence_s: float = Field(default=5.0, gt=0, le=86400)
    """Seconds of silence after which a peer counts as lost."""
    task_timeout_s: float = Field(default=120.0, gt=0, le=86400)
    """Seconds that a worker may be stuck in one task before it ends itself."""
    attempts: int = Field(default=3, ge=2, le=100)
    """Workers that may die running one item before it is quarantined."""
    confirm_s: float = Field(default=10.0, gt=0)
    """Seconds after which a result that the sink has not confirmed is made again."""
    hedge_s: float = Field(default=2.0, gt=0)
    """Least seconds that a task may hold up the stream before a second worker gets it too."""
    hedge_factor: float = Field(default=4.0, ge=1)
    """A task is hedged only when it is this many times older than a typical one."""
    dashboard: str = ""
    """host:port to serve the dashboard on, as in 127.0.0.1:5550 (port 0 takes any free one); empty: nowhere."""
    dashboard_token_file: str = ""
    """File with the token that the dashboard asks for, made if it is missing; without one, a dashboard beyond loopback
    makes a token for this run."""
    dashboard_hosts: list[str] = Field(default_factory=list)
    """Further names by which browsers may call the dashboard's host, such as that of a proxy; the first stands in the
    address that is logged where the dashboard listens on all."""


def serve(settings: VentilatorSettings) -> int:
    """Run the service until it is told to stop; return the exit status."""
    spec = load_spec(settings.spec)
    roots = spec.map_roots(settings.root)
    leases: Leases | None = None

    def status() -> dict[str, object]:
        if leases is None:
            return {"ready": False, "why": "listing the sources"}
        return {
            "ready": True,
            "workers": len(leases.workers),
            "sink": leases.sink is not None,
            "streams": {
                name: {"missing": len(queue.works), "stopped": queue.stopped, "spent": dict(queue.spent_s)}
                for name, queue in leases.queues.items()
            },
        }

    with Service("ventilator", settings, status) as service, _open_dashboard(settings, service) as dashboard:
        if not service.hub.keys:
            check_exposure(settings.bind, insecure=settings.insecure)  # now, not once all sources are listed
        book = _list_sources(service, spec, roots, dashboard)
        intervals = Intervals(
            heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s, task_timeout_s=settings.task_timeout_s
        )
        policy = LeasePolicy(settings.attempts, settings.confirm_s, settings.hedge_s, settings.hedge_factor)
        core = Leases(book.plans, book.task, roots, intervals, __version__, policy)
        core.paths = book.paths
        endpoint = service.hub.router(settings.bind, _ACCEPTED)
        for plan in book.plans:
            service.log.info(
                "serving", stream=plan.name, items=plan.items, classes=len(plan.classes), at=endpoint.address
            )
        due = observed = time.monotonic()
        snapshots = Snapshots(core, Own(__version__, settings.restarts, service.hub.rejects.counts), due, time.time())
        service.health.serve("/metrics", Metrics(METRICS, lambda page: fill(page, snapshots.snapshot)).answer)
        service.health.serve("/status", lambda _: _as_json(snapshots), private=True)
        leases = core  # ready from now on, and not before its pages are there
        spare_collector()
        while not service.stopping:
            now = service.wait_until(due)
            _receive(service, endpoint, leases, snapshots, now)
            if now >= due:
                execute(service, endpoint, leases, leases.tick(now), now)
                due = leases.next_timer(now)
            if now >= observed + _OBSERVE_S:
                snapshots.observe(now, time.time())
                observed = now
                if dashboard:
                    dashboard.show(snapshots.look(LEDGER_SHOWN), leases.sink.hello.trainers if leases.sink else "")
            execute(service, endpoint, leases, leases.dispatch(now), now)
    return 0


def _open_dashboard(settings: VentilatorSettings, service: Service) -> AbstractContextManager["Dashboard | None"]:
    """Serve the page, if it is wanted; its libraries are loaded only then. Raises SpecError."""
    if not settings.dashboard:
        return nullcontext()
    try:
        from penstock.ventilator.dashboard.server import open_dashboard  # noqa: PLC0415 - an optional part
    except ImportError as error:
        raise SpecError(f"the dashboard needs {error.name}: pip install 'penstock[dashboard]'") from error
    return open_dashboard(
        settings.dashboard, settings.dashboard_token_file, settings.dashboard_hosts, settings.keys, service.log
    )


def _list_sources(service: Service, spec: Spec, roots: Mapping[str, str], dashboard: "Dashboard | None") -> Catalog:
    service.starting = True
    book = Catalog.open(spec, roots)
    service.starting = False
    if dashboard:
        dashboard.name_items(book.name)
    return book


def _as_json(snapshots: Snapshots) -> tuple[str, bytes]:
    return "application/json", snapshots.snapshot.model_dump_json().encode()


def _receive(service: Service, endpoint: Endpoint, leases: Leases, snapshots: Snapshots, now: float) -> None:
    for peer, message, _ in endpoint.receive():
        if isinstance(message, StatusRequest):
            endpoint.send(_show(snapshots, message), peer=peer)
            continue
        try:
            execute(service, endpoint, leases, leases.receive(peer, message, now), now)
        except RemoteProtocolError as error:
            service.hub.rejects.add(error, peer.hex()[:8])


def _show(snapshots: Snapshots, look: StatusRequest) -> Snapshot | Refused:
    """Return the answer to who only looks; that is no peer, and need not be known."""
    if look.version == __version__:
        return snapshots.look(look.ledger)
    reason = f"this command runs Penstock {look.version}, the ventilator {__version__}: install the same"
    return Refused(kind="version", reason=reason)


def execute(
    service: Service, endpoint: Endpoint, leases: Leases, instructions: Iterable[Instruction], now: float
) -> None:
    """Carry out what the core asks for; a peer that cannot be reached is told to the core."""
    for instruction in instructions:
        match instruction:
            case Send(peer, message):
                if not endpoint.send(message, peer=peer):
                    execute(service, endpoint, leases, leases.gone(peer, now), now)
            case Note():
                service.note(instruction)
            case _:
                raise NotImplementedError(instruction)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock ventilator`."""
    return run(VentilatorSettings, serve, "ventilator", arguments)


if __name__ == "__main__":
    sys.exit(main())
