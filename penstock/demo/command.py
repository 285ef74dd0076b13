"""`penstock demo`: the whole pipeline on real JPEG files, training a small Keras network, in about a minute.

An interrupt at any moment leaves nothing behind. TensorFlow cannot be interrupted, so it runs in a process of its own
(`training.py`).
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field

from penstock.demo.display import Display, summarise
from penstock.demo.images import make_samples
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import PenstockError, StackError
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.terminal.child_process import ReportingProcess
from penstock.terminal.console import PlainConsole
from penstock.terminal.interrupts import Interrupts, interrupted
from penstock.terminal.words import several

#: Files a class that are made: to train on and held out.
_MADE, _MADE_QUICK = (120, 40), (40, 10)
#: Images are resized to cover a square of the first side (pixels), of which random squares of the second are cut.
_COVERED, _CUT = 96, 80
#: Squares cut from each image to train on; images whose squares are mixed.
_PATCHES, _MIX = 4, 32


class DemoSettings(Settings):
    """Trains a small network on generated images or on your own, and reports the bottleneck."""

    data: str | None = None
    """Folder with your images, one subfolder per class; a fifth of each is held out. Default: generated images."""
    epochs: int = Field(default=3, ge=1)
    """Number of epochs to train."""
    workers: int | None = Field(default=None, ge=1)
    """Number of worker processes; default: one per core."""
    batch_size: int = Field(default=32, ge=1)
    """Number of samples in a batch."""
    quick: bool = False
    """Generate a quarter as many images."""
    keep: str | None = None
    """Folder in which generated images and logs are kept; default: a temporary folder."""


def spec_of(folder: Path, settings: DemoSettings) -> dict[str, Any]:
    """Return the demo's spec: `folder` is the user's, or holds `train` and `held-out`."""

    def stream(path: str, subset: str, kind: str) -> dict[str, Any]:
        source: dict[str, Any] = {"kind": "directory", "root": "images", "path": "" if settings.data else path}
        if settings.data:
            source |= {"validation_split": 0.2, "subset": subset}
        transform = {
            "resize": {"height": _COVERED, "width": _COVERED, "fit": "cover"},
            "patch": {"kind": kind, "height": _CUT, "width": _CUT},
            "augment": {"horizontal_flip": kind == "random"},
        }
        return {"source": source, "transform": transform, "batch_size": settings.batch_size, "failure_budget": 0.2}

    train = stream("train", "training", "random") | {"patches": _PATCHES, "mix": _MIX}
    held_out = stream("held-out", "validation", "center") | {"shuffle": False}
    return {"seed": 7, "roots": {"images": str(folder)}, "streams": {"train": train, "validation": held_out}}


def serve(settings: DemoSettings) -> int:
    """Run the demo; return the exit status."""
    _require_tensorflow()
    console, interrupts = PlainConsole(), Interrupts()
    with suppress(KeyboardInterrupt), ExitStack() as cleanup, interrupts.armed():
        _demo(settings, console, cleanup)
    console.show_cursor()
    if interrupts.seen is not None:
        console.print("interrupted: everything is stopped")
        return interrupted(interrupts.status)
    return 0


def _demo(settings: DemoSettings, console: PlainConsole, cleanup: ExitStack) -> None:
    """Do everything that may be interrupted; `cleanup` undoes it in reverse order."""
    if settings.keep:
        scratch = Path(settings.keep).absolute()
        scratch.mkdir(parents=True, exist_ok=True)
    else:
        scratch = Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="penstock-demo-", ignore_cleanup_errors=True))
        )
    trainer = cleanup.enter_context(ReportingProcess("penstock.demo.training", "training", scratch / "trainer.log"))
    display = Display(console, settings.epochs)
    if settings.data:
        folder = Path(settings.data).absolute()
        display.say("images", f"from {folder}")
    else:
        folder = scratch / "images"
        train, held_out = _MADE_QUICK if settings.quick else _MADE
        with console.waiting("making a set of JPEG files"):
            began = time.perf_counter()
            made = sum(1 for _ in make_samples(folder, train=train, held_out=held_out))
        display.say("images", f"{made} JPEG files of 4 classes, made in {time.perf_counter() - began:.1f} s")
    stack = LocalStack(spec_of(folder, settings), workers=settings.workers, run_dir=scratch / "run")
    cleanup.callback(stack.stop)
    with console.waiting("starting ventilator, sink and workers"):
        began = time.perf_counter()
        stack.__enter__()
    display.say(
        "pipeline",
        f"ventilator, sink and {several(stack.workers, 'worker')} over ipc, up in {time.perf_counter() - began:.1f} s",
    )
    trainer.order(address=stack.address, epochs=settings.epochs)
    told: Mapping[str, Any] = {}

    def check() -> None:
        if stack.error:
            raise stack.error

    with display:
        for report in trainer.reports(check):
            display.show(report)
            told = report
    if told.get("event") != "done":
        raise StackError("the training process ended before it was done")
    summarise(console, stack, told)


def _require_tensorflow() -> None:
    if missing := [name for name in ("tensorflow", "keras") if find_spec(name) is None]:
        raise PenstockError(
            f"the demo needs TensorFlow, and {' and '.join(missing)} cannot be found: pip install 'penstock[tf-cpu]'"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock demo`."""
    return run(DemoSettings, serve, "demo", arguments)


if __name__ == "__main__":
    sys.exit(main())
