"""`penstock view`: a contact sheet of samples that a running sink holds for its trainers, without being one of them.

Owns how long it looks and what it says if there is nothing to see. A subscription would make the workers repeat samples
or hold the window up; this asks the sink to show copies, and the trainers get every sample as before.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import closing

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.contact_sheet.samples import Sample, SheetSettings, make_sheet, most_samples, save
from penstock.contact_sheet.sheet import check_output
from penstock.protocol import wire
from penstock.protocol.errors import DeadlineError, PenstockError, RefusedError, RemoteProtocolError, StackError
from penstock.protocol.messages import Refused, Reset, SampleReply, SampleRequest
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.log import library_logger
from penstock.protocol.runtime.service import run
from penstock.protocol.transport.keys import KeyRing, open_keys
from penstock.protocol.transport.sockets import Endpoint, Hub
from penstock.protocol.version import __version__
from penstock.protocol.wire import Array
from penstock.terminal.spinner import waiting

_FROM_SINK = wire.kinds(SampleReply, Refused, Reset)
#: Seconds after which a question is asked again, and after which a sink that shows no more is left with what it showed.
_AGAIN_S, _STILL_S = 0.5, 2.0


class ViewSettings(SheetSettings):
    """Draws samples that a running sink holds right now; its trainers miss none of them, and wait for none."""

    address: CliPositionalArg[str]
    """Address of the sink for trainers, such as tcp://host:5557."""
    stream: str = "train"
    """Which stream."""
    keys: str = ""
    """Key folder with a trainer's key, if the stack uses keys."""
    wait_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds to wait for so many samples; then those seen are drawn."""


class Look:
    """What was seen of a stream so far."""

    def __init__(self, stream: str, count: int) -> None:
        """Have seen nothing."""
        self.stream, self.count = stream, count
        self.plan: StreamPlan | None = None
        self.samples: list[Sample] = []
        #: Whether trainers read the stream; None as long as the sink did not answer.
        self.read: bool | None = None
        self._next = 0

    @property
    def question(self) -> SampleRequest:
        """What to ask next: for samples that come after those seen."""
        left = min(self.count - len(self.samples), 1000)
        return SampleRequest(stream=self.stream, position=self._next, count=left, version=__version__)

    def take(self, message: SampleReply, arrays: Sequence[Array]) -> bool:
        """Take an answer in; return whether it showed anything new. Raises RemoteProtocolError if it is not right."""
        known = [(field.name, field.dtype, (len(message.positions), *field.shape)) for field in message.plan.schema]
        if known != [(frame.name, frame.dtype, frame.shape) for frame in message.frames]:
            raise RemoteProtocolError(
                "glimpse", f"{message.frames} are not {len(message.positions)} samples of {known}"
            )
        if self.plan and self.plan.fingerprint != message.plan.fingerprint:  # another spec runs now
            self.samples, self._next = [], 0
        self.plan, self.read = message.plan, message.readers > 0
        fresh = [index for index, position in enumerate(message.positions) if position >= self._next]
        for index in fresh[: self.count - len(self.samples)]:
            fields = {frame.name: array[index, ...] for frame, array in zip(message.frames, arrays, strict=True)}
            self.samples.append(Sample(message.positions[index], f"item {int(fields['item'])}", fields))
            self._next = message.positions[index] + 1
        return bool(fresh)


def look(settings: ViewSettings) -> tuple[StreamPlan, list[Sample]]:
    """Return what the sink shows. Raises RefusedError, DeadlineError, or StackError if there is nothing to see."""
    seen = Look(settings.stream, settings.count)
    keys = open_keys(settings.keys, "trainer")
    with waiting(f"looking at what {settings.address} holds"):
        look_at(settings.address, keys, seen, wait_s=settings.wait_s, still_s=_STILL_S)
    if seen.plan is None or not seen.samples:
        raise _nothing(settings, seen)
    return seen.plan, seen.samples


def look_at(sink: str, keys: KeyRing | None, seen: Look, *, wait_s: float, still_s: float) -> None:
    """Ask a sink until it has shown as many samples as wanted, nothing new for `still_s`, or for `wait_s` (seconds).

    Raises RefusedError.
    """
    with closing(Hub(library_logger("view", sink=sink), keys)) as hub:
        endpoint = hub.dealer(sink, _FROM_SINK, "sink")
        began = asked = news = time.monotonic()
        endpoint.send(seen.question)
        while True:
            hub.wait(min(_AGAIN_S, wait_s))
            now = time.monotonic()
            if fresh := _receive(hub, endpoint, seen):
                news = now
            still = seen.samples and now >= news + still_s
            if still or now > began + wait_s or len(seen.samples) == seen.count:
                return
            if fresh or now > asked + _AGAIN_S:
                endpoint.send(seen.question)
                asked = now


def _receive(hub: Hub, endpoint: Endpoint, seen: Look) -> bool:
    """Take in what has come; return whether any of it was new."""
    fresh = False
    for _, message, arrays in endpoint.receive():
        if isinstance(message, Refused):
            raise RefusedError(message.reason)
        if isinstance(message, SampleReply):
            try:
                fresh |= seen.take(message, arrays)
            except RemoteProtocolError as error:
                hub.rejects.add(error, endpoint.given)
    return fresh


def _nothing(settings: ViewSettings, seen: Look) -> PenstockError:
    """Return why there is nothing to draw."""
    if seen.read is None:
        return DeadlineError(
            f"no samples of stream {settings.stream!r} from {settings.address} within {settings.wait_s} s: check that "
            "sink and workers run, and that this is the sink's address for trainers"
        )
    return StackError(
        f"no trainer reads stream {settings.stream!r} at {settings.address}, so nothing of it is made: start one, or "
        "draw samples without a running stack by penstock preview"
    )


def serve(settings: ViewSettings) -> int:
    """Look, draw, write; return the exit status."""
    target = check_output(settings.output)
    plan, samples = look(settings)
    samples = samples[: most_samples(plan, settings.count)]
    first, last = samples[0].position, samples[-1].position
    title = f"{plan.name} at {settings.address}: {len(samples)} samples from position {first:,} to {last:,}"
    print(save(make_sheet(title, plan, samples, settings.side), target))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock view`."""
    return run(ViewSettings, serve, "view", arguments)


if __name__ == "__main__":
    sys.exit(main())
