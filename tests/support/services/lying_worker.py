"""A worker without conscience on real sockets: it joins, takes leases, and says that every item fails fatally.

It also sends what it was never asked for, with names and paths of its own making.
"""

import json
from typing import Any

import zmq
from support.hostile import Attacker, message
from support.situations import Running

import penstock
from penstock.protocol import messages, wire

#: Seconds between two heartbeats.
_BEAT_S = 0.1
_FROM_VENTILATOR = wire.kinds(messages.WorkerWelcome, messages.Tasks, messages.Heartbeat, messages.Reset)
#: What a name or a reason must not do to a terminal, a log or a file.
NASTY = "../x\0\x1b[2J\u202e\n.jpg"


class LyingWorker(Running):
    """Lies from a thread of its own while the test reads a feed."""

    def __init__(self, ventilator: str, results: str, *, fatal: bool) -> None:
        """Say hello; failures are `fatal`, or only failures."""
        super().__init__()
        self._ventilator, self._results, self._fatal = ventilator, results, fatal
        self._plans: dict[str, str] = {}
        self._sinks: tuple[str, ...] = ()
        #: Tasks that it was leased and lied about.
        self.lies = 0
        #: Whether the ventilator has welcomed it.
        self.joined = False

    def _run(self) -> None:
        hello = messages.Hello(worker="liar", incarnation="liar", host="h", slots=4, version=penstock.__version__)
        with Attacker(zmq.DEALER, self._ventilator) as asked, Attacker(zmq.PUSH, self._results) as told:
            asked.send([message(hello)])
            while not self._over.is_set():
                if not asked.socket.poll(round(_BEAT_S * 1000)):
                    asked.send([message(messages.Heartbeat(sinks=self._sinks))])
                    continue
                content, _ = wire.decode(asked.socket.recv_multipart(), _FROM_VENTILATOR)
                if isinstance(content, messages.WorkerWelcome):
                    self._plans = {plan.name: plan.token for plan in content.streams}
                    self._sinks = tuple(sink.incarnation for sink in content.sinks)
                    self.joined = True
                elif isinstance(content, messages.Tasks):
                    told.send([self._lie(task) for task in content.tasks])
                    times = messages.Timings(decode_s=1e12)
                    done = tuple(messages.Done(key=task.key, timings=times) for task in content.tasks)
                    asked.send([message(messages.Finished(done=done))])
                    self.lies += len(content.tasks)

    def _lie(self, task: messages.Task) -> list[bytes]:
        first = task.key.item_offset or 0
        failures = tuple(
            messages.Failure(
                offset=offset, item=item.item, path=item.name, reason=NASTY, fatal=self._fatal, worker=NASTY
            )
            for offset, item in enumerate(task.items, first)
        )
        return message(
            messages.Result(
                key=task.key,
                plan=self._plans[task.key.stream],
                worker="liar",
                lease=task.lease,
                failures=failures,
                names=tuple(item.name for item in task.items),
                frames=(),
            )
        )


def forged(plan: str, count: int, **changes: Any) -> list[list[bytes]]:
    """Return results of tasks that were leased to nobody: the first items of each fail, and are invented."""
    found = []
    for ordinal in range(count):
        failure = {"offset": 0, "item": 10**9 + ordinal, "path": NASTY, "reason": NASTY} | changes
        key = {"stream": "train", "ordinal": ordinal, "item_offset": 0}
        header = {"key": key, "plan": plan, "worker": "w", "failures": [failure], "frames": []}
        found.append([f"penstock/{wire.PROTOCOL_VERSION} Result".encode(), json.dumps(header).encode()])
    return found
