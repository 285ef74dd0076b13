"""`penstock ventilator`: lists the sources, then leases tasks over one ROUTER socket until it is asked to stop."""

import secrets
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, assert_never

from penstock.protocol import wire
from penstock.protocol.errors import LocalProtocolError, SpecError, StackError
from penstock.protocol.heartbeat import Attention
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    LeaseKey,
    ListPaths,
    Progress,
    Refused,
    SinkHello,
    StatusRequest,
    Story,
)
from penstock.protocol.runtime.metrics import Metrics
from penstock.protocol.runtime.service import SPARED, Observed, Service, run, spare_collector
from penstock.protocol.runtime.story_desk import StoryDesk
from penstock.protocol.spec.spec import Spec, load_spec
from penstock.protocol.transport.addresses import check_sent_address
from penstock.protocol.transport.receiving import receive_all
from penstock.protocol.transport.sockets import ByRole
from penstock.protocol.version import __version__
from penstock.ventilator.core.leases import LeasePolicy, Leases
from penstock.ventilator.early_checks import check_early
from penstock.ventilator.monitoring.metrics import METRICS, fill
from penstock.ventilator.monitoring.scaling import ScalingPolicy
from penstock.ventilator.monitoring.snapshots import Own, Snapshots
from penstock.ventilator.pace import COLLECT_AFTER, MOST_A_TURN, Pace
from penstock.ventilator.resting import rest_s
from penstock.ventilator.settings import VentilatorSettings
from penstock.ventilator.sources.catalog import Catalog
from penstock.ventilator.standby.company import GREETED_BEATS, Company
from penstock.ventilator.standby.keeper import Keeper

if TYPE_CHECKING:
    from penstock.ventilator.dashboard.server import Dashboard

#: Lines of the quarantine ledger that the dashboard shows: the newest.
LEDGER_SHOWN = 200
#: Seconds between two observations of the core, and between two snapshots of the topology: the less often the larger.
_OBSERVE_S, _SHOW_S, _SHOWN_S = 0.2, 1.0, 4.0
#: How much longer an observation may wait for other work that wakes the loop (s).
_PATIENCE_S = 0.3
#: Seconds to wait for the parts of a story; the sink waits less for its trainers.
_STORY_S = 1.0
#: Messages that each role may send; with a trainer's key, a program may ask for the status.
_ACCEPTED: ByRole = {
    "worker": wire.kinds(Hello, Finished, Heartbeat, Goodbye, Story, StatusRequest),
    "sink": wire.kinds(SinkHello, Progress, ListPaths, Heartbeat, Goodbye, Story, StatusRequest),
    "trainer": wire.kinds(StatusRequest),
}


class Ventilator:
    """The ventilator's endpoint, its core and its pages; of several ventilators, it may be one that waits."""

    def __init__(self, service: Service, settings: VentilatorSettings, dashboard: "Dashboard | None") -> None:
        """List the sources, then bind and serve the pages. Raises SpecError and SourceError."""
        self._service, self._settings, self._dashboard = service, settings, dashboard
        spec = load_spec(settings.spec)
        self._roots = spec.map_roots(settings.root)
        check_early(settings, has_keys=bool(service.hub.keys))
        self._catalog = catalog = _list_sources(service, spec, self._roots, dashboard)
        self._endpoint = service.hub.router(settings.bind, _ACCEPTED)
        self._stories = StoryDesk(_STORY_S)
        #: For the program that started the stack, which does not see this log.
        self._warnings = list(catalog.warnings)
        for warning in (*catalog.warnings, *catalog.notes):
            service.log.warning(warning)
        for plan in catalog.plans:
            service.log.info(
                "serving", stream=plan.name, items=plan.items, classes=len(plan.classes), at=self._endpoint.address
            )
        self._tick_at = self._show_at = now = time.monotonic()
        self._begin(0, now)
        #: Says when it is this one's turn; None: it is the only ventilator.
        self._keeper: Keeper | None = None
        if settings.standby:
            address = self._endpoint.address
            self._keeper = Keeper(settings.standby, settings.takeover_s, address, service.hub.wake)
            self._trouble = ""
            service.log.info("on standby", folder=settings.standby)
        service.health.serve("/metrics", Metrics(METRICS, lambda page: fill(page, self._snapshots.snapshot)).answer)
        service.health.serve("/status", self._as_json, private=True)

    def turn(self, now: float) -> float:
        """Handle all that has arrived and is due; return when to turn again at the latest."""
        self._review(now)
        rejects = self._service.hub.rejects
        receive_all(self._endpoint, rejects, lambda peer, message, _: self._receive(peer, message, now), MOST_A_TURN)
        judging = self._attention.judges(now, self._intervals, all_read=self._endpoint.drained)
        if now >= self._tick_at:
            self._execute(self._core.tick(now, judging=judging), now)
            self._tick_at = self._core.next_timer(now)
        self._execute(self._core.review(now), now)
        self._execute(self._pace.dispatch(self._core, now), now)
        for answer in self._stories.answers(now):
            self._endpoint.send(self._snapshots.answer(answer.tag, answer.parts), peer=answer.asker)
        if self._endpoint.drained and self._core.next_dispatch() > now:
            rest_until = now + rest_s(self._core.workers, self._core.queues)
            self._service.rest_until(min(rest_until, max(now, self._tick_at)))
        due = min(self.observed.renew(now, self._tick_at), self._stories.next_timer(), self._core.next_dispatch())
        if now >= self._show_at:
            began, seen = time.thread_time(), self.observed.latest
            self._snapshots.update(seen, time.time(), self._keeper.standing() if self._keeper else None)
            if self._dashboard:
                # Of several sinks, one with a trainer holds samples: it is asked for them.
                asked = max(seen.sinks, key=lambda sink: len(sink.stats.readers) if sink.stats else 0, default=None)
                self._dashboard.show(self._snapshots.answer(LEDGER_SHOWN), asked.trainers if asked else "")
            self._show_at = now + min(_SHOWN_S, max(_SHOW_S, SPARED * (time.thread_time() - began)))
        return due

    def status(self) -> dict[str, object]:
        """Return what `/healthz` shows. A thread of its own asks, before the loop knows that it acts no more."""
        seen = self.observed.latest
        return {
            "ready": True,
            "acting": self._acts and (self._keeper is None or self._keeper.may_act(self._term)),
            "workers": len(seen.workers),
            "sink": bool(seen.sinks),
            "sinks": [sink.name for sink in seen.sinks if sink.name],
            "warnings": self._warnings,
            "streams": {
                stream.plan.name: {
                    "missing": stream.wanted,
                    "stopped": stream.stopped,
                    "spent": {name: spent_s for name, spent_s in stream.spent.to_dict().items() if spent_s},
                }
                for stream in seen.streams
            },
        }

    def close(self) -> None:
        """Let another ventilator take over at once, if there is one."""
        if self._keeper:
            self._keeper.close()

    @property
    def _acts(self) -> bool:
        return self._keeper is None or self._term > 0

    def _begin(self, term: int, now: float) -> None:
        """Begin without peers, and with a key of its own: at the start, and whenever this one begins or ceases to act.

        Workers and sinks introduce themselves, as to a ventilator that was restarted.
        """
        settings, self._term, self._company = self._settings, term, Company(now, self._settings.heartbeat_s)
        self._intervals = intervals = Intervals(
            heartbeat_s=settings.heartbeat_s, silence_s=settings.silence_s, task_timeout_s=settings.task_timeout_s
        )
        policy = LeasePolicy(settings.attempts, settings.confirm_s, settings.hedge_s, settings.hedge_factor)
        lease_key = LeaseKey(issuer=uuid.uuid4().hex, secret=secrets.token_hex(16))
        self._core = Leases(self._catalog, self._roots, intervals, __version__, lease_key, policy, term=term)
        #: What the status shows.
        self.observed = Observed(self._core.observe, _OBSERVE_S, now, _PATIENCE_S)
        scaling = ScalingPolicy(
            settings.workers_least, settings.workers_most, settings.workers_up_s, settings.workers_down_s
        )
        own = Own(__version__, settings.restarts, self._service.hub.rejects.counts, scaling)
        self._snapshots = Snapshots(own, self.observed.latest, time.time())
        self._attention, self._pace, self._tick_at, self._show_at = Attention(), Pace(), now, float("-inf")

    def _review(self, now: float) -> None:
        """Notice that this one begins or ceases to act, and say what is wrong with the folder."""
        if self._keeper and bool(trouble := self._keeper.trouble) != bool(self._trouble):
            self._trouble = trouble
            words = "the folder of --standby cannot be used" if trouble else "the folder of --standby can be used again"
            self._service.log.warning(words, **({"why": trouble} if trouble else {}))
        if self._keeper is None:
            return
        here = bool(self._core.workers or self._core.sinks.peers())
        elsewhere = self._term > 0 and not here and self._keeper.another_is_reached
        if self._company.is_lost(now, here=here, elsewhere=elsewhere):
            self._keeper.hand_over()
        if (term := self._keeper.term) == self._term:
            return
        standing = self._keeper.standing()
        self._begin(term, now)
        if term:
            self._service.log.warning("acting", number=standing.number, term=term, monotonic_s=round(now, 3))
        else:
            self._service.log.warning("acting no more", why=standing.why, monotonic_s=round(now, 3))

    def _receive(self, peer: bytes, message: AnyMessage, now: float) -> None:
        if self._keeper and isinstance(message, Hello | SinkHello):
            self._company.greeted(now)
            self._keeper.greeted(GREETED_BEATS * self._settings.heartbeat_s)
        if isinstance(message, StatusRequest):
            self._answer(peer, message, now)
        elif not self._acts:
            return  # a peer that says hello hears nothing, and goes on to greet all ventilators
        elif isinstance(message, Story):
            self._stories.receive(peer, message, now)
        else:
            if isinstance(message, SinkHello):
                for address in filter(None, (message.results, message.trainers)):  # workers would get them
                    check_sent_address(address)
            self._execute(self._core.receive(peer, message, now), now)

    def _answer(self, peer: bytes, request: StatusRequest, now: float) -> None:
        """Answer a command that asks for the status, or ask for a task's story; the sender need not be a peer."""
        if request.version != __version__:
            reason = f"this command runs Penstock {request.version}, the ventilator {__version__}: install the same"
            self._endpoint.send(Refused(kind="version", reason=reason), peer=peer)
        elif request.story is None:
            self._endpoint.send(self._snapshots.answer(request.ledger), peer=peer)
        else:
            own, peers = self._core.story(request.story, now), self._core.peers()
            self._execute(self._stories.ask(peer, request.ledger, request.story, own, peers, now), now)

    def _execute(self, instructions: Iterable[Instruction], now: float) -> None:
        """Carry out what the core asks for; the core hears of a peer that cannot be reached."""
        for instruction in instructions:
            match instruction:
                case Send() if self._keeper and not self._keeper.may_act(self._term):
                    return
                case Send(peer, message):
                    if not self._endpoint.send(message, peer=peer):
                        self._execute(self._core.gone(peer, now), now)
                case Note():
                    self._service.note(instruction)
                case Failed(reason):
                    raise StackError(reason)
                case Reopen():
                    raise LocalProtocolError(f"{instruction}: the ventilator's endpoint is bound, it opens no link")
                case _:
                    assert_never(instruction)

    def _as_json(self, _: object) -> tuple[str, bytes]:
        return "application/json", self._snapshots.snapshot.model_dump_json().encode()


def serve(settings: VentilatorSettings) -> int:
    """Run the service until it is asked to stop; return the exit status."""
    ventilator: Ventilator | None = None

    def status() -> dict[str, object]:
        return ventilator.status() if ventilator else {"ready": False, "why": "listing the sources"}

    with Service("ventilator", settings, status) as service, _open_dashboard(settings, service) as dashboard:
        ventilator = Ventilator(service, settings, dashboard)
        spare_collector(COLLECT_AFTER)
        try:
            service.loop(ventilator.turn, lambda: service.stopping)
        finally:
            ventilator.close()
    return 0


def _open_dashboard(settings: VentilatorSettings, service: Service) -> AbstractContextManager["Dashboard | None"]:
    """Serve the dashboard if one is configured; its libraries are imported only then. Raises SpecError."""
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
    catalog = Catalog.open(spec, roots)
    service.starting = False
    if dashboard:
        dashboard.name_items(catalog.name)
    return catalog


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock ventilator`."""
    return run(VentilatorSettings, serve, "ventilator", arguments)


if __name__ == "__main__":
    sys.exit(main())
