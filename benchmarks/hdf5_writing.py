"""What writing costs a pipeline: its rate with a trainer alone, with a file alone, and with both (a tee).

The three take turns within a round, on the same stream and with one worker a core, so that workers are what limits.
Each is a stack of its own; its rate is that of the samples that are consumed, or written and committed along the way,
in `seconds` after it has warmed up. Part of `hdf5.py`. Putting the pieces together at the end is left out.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from penstock.launcher.stack import LocalStack

#: Seconds that a stack runs before its rate is taken, and how often the sink is asked (s).
_WARM_S, _LOOK_S = 3.0, 0.05
#: Far more epochs than fit the time.
_EPOCHS = 100_000


def consuming(spec: dict[str, Any], seconds: float, sink: dict[str, Any]) -> float:
    """Return the samples a second that a trainer gets that does nothing with them."""
    with LocalStack(spec, options={"sink": sink}) as stack:
        feed = stack.feed("train")
        samples, began = 0, time.perf_counter()
        counted = None
        while True:
            for batch in feed:
                now = time.perf_counter()
                samples += len(batch["label"])
                if counted is None and now - began >= _WARM_S:
                    counted, samples, began = now, 0, now
                elif counted is not None and now - began >= seconds:
                    return samples / (now - began)


def writing(spec: dict[str, Any], seconds: float, sink: dict[str, Any]) -> float:
    """Return the samples a second that are written without a trainer."""
    with LocalStack(spec, options={"sink": sink}) as stack:
        began = _written(stack, 1)
        time.sleep(_WARM_S)
        first, at = _written(stack, began + 1), time.perf_counter()
        time.sleep(seconds)
        return (_written(stack, first) - first) / (time.perf_counter() - at)


def _written(stack: LocalStack, least: int) -> int:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if stack.error:
            raise stack.error
        samples = int((stack.status()["sink"].get("writer") or {}).get("samples", 0))
        if samples >= least:
            return samples
        time.sleep(_LOOK_S)
    raise SystemExit("nothing was written within 60 s")


def measure_writing(spec: dict[str, Any], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return the medians, and the ratios of each round to the trainer alone."""
    sides: dict[str, Callable[..., float]] = {"trainer": consuming, "file": writing, "both": consuming}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as made:
                options = {"writer": "hdf5", "output": f"{made}/set.h5", "epochs": _EPOCHS}
                extra = {} if name == "trainer" else options | ({"wait_for_trainers": 1} if name == "both" else {})
                found[name].append(sides[name](spec, seconds, extra))
    alone = found["trainer"]
    rows = []
    for name, rates in found.items():
        ratios = [rate / other for rate, other in zip(rates, alone, strict=True)]
        rows.append(
            {
                "case": name,
                "samples_per_s": statistics.median(rates),
                "of_trainer_alone": statistics.median(ratios),
                "ratios": ratios,
            }
        )
    return rows
