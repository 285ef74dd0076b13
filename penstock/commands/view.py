"""`penstock view`: a contact sheet of samples that a running sink holds for its trainers.

`observe/sample_client.py` asks the sink; this module decides how long to wait, and explains an empty answer.
"""

import sys
from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.contact_sheet.samples import Sample, SheetSettings, make_sheet, most_samples, save
from penstock.contact_sheet.sheet import check_output
from penstock.observe.absent import check_present
from penstock.observe.sample_client import SampleCollection, collect_samples
from penstock.protocol.errors import DeadlineError, PenstockError, StackError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.transport.keys import open_keys
from penstock.protocol.transport.own_sockets import OWN_TRAINERS, Address
from penstock.terminal.spinner import waiting

#: Seconds without a new sample after which the sheet is drawn from what has come.
_STILL_S = 2.0


class ViewSettings(SheetSettings):
    """Draws samples that a running sink holds at the moment. Trainers still receive these samples, without delay."""

    address: CliPositionalArg[Address] = OWN_TRAINERS
    """Address of the sink for trainers, such as tcp://host:5557; default: the sink that this user runs here."""
    stream: str = "train"
    """Name of the stream to draw."""
    keys: str = ""
    """Key folder with a trainer's key, if the stack uses keys."""
    wait_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds to wait for `count` samples; after that, the sheet shows the samples that have arrived."""


def fetch_samples(settings: ViewSettings) -> tuple[StreamPlan, list[Sample]]:
    """Return the samples that the sink holds. Raises RefusedError, DeadlineError, or StackError if it has none."""
    collected = SampleCollection(settings.stream, settings.count)
    keys = open_keys(settings.keys, "trainer")
    with waiting(f"looking at what {settings.address} holds"):
        collect_samples(settings.address, keys, collected, wait_s=settings.wait_s, still_s=_STILL_S)
    if collected.plan is None or not collected.samples:
        raise _nothing(settings, collected)
    return collected.plan, collected.samples


def _nothing(settings: ViewSettings, collected: SampleCollection) -> PenstockError:
    """Return why there is nothing to draw."""
    if collected.has_readers is None:
        return DeadlineError(
            f"no samples of stream {settings.stream!r} from {settings.address} within {settings.wait_s} s: check that "
            "sink and workers run, and that this is the sink's address for trainers"
        )
    return StackError(
        f"no trainer reads stream {settings.stream!r} at {settings.address}, so no samples are made: start a trainer, "
        "or draw samples without a running stack by penstock preview"
    )


def serve(settings: ViewSettings) -> int:
    """Ask the sink, draw the sheet, write it; return the exit status."""
    target = check_output(settings.output)
    check_present(settings.address, "sink")
    plan, samples = fetch_samples(settings)
    samples = samples[: most_samples(plan, settings.count)]
    first, last = samples[0].position, samples[-1].position
    title = f"{plan.name} at {settings.address}: {len(samples)} samples from position {first:,} to {last:,}"
    say(save(make_sheet(title, plan, samples, settings.side), target))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock view`."""
    return run(ViewSettings, serve, "view", arguments)


if __name__ == "__main__":
    sys.exit(main())
