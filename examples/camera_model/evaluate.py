"""Say how well a trained network knows the cameras, under each manipulation: `evaluate.py run validation.h5`.

Reads the run's `run.json` and `best.keras`, cuts each stored patch in its centre, and writes `evaluation.json` there.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is loaded

import keras
import numpy as np

from penstock import Hdf5Feed, PenstockError, SpecError


def load(run: Path) -> tuple[dict[str, Any], Any]:
    """Return a run's parameters and its best model. Raises SpecError if there are none yet."""
    file, best = run / "run.json", run / "best.keras"
    for each in (file, best):
        if not each.is_file():
            raise SpecError(f"{str(each)!r}: no such file; train.py writes it at the end of its first epoch")
    try:
        parameters = json.loads(file.read_text(encoding="utf-8"))
        model = keras.saving.load_model(best)
    except ValueError as error:
        raise SpecError(f"{str(run)!r} is not a run of train.py: {error}") from error
    return parameters, model


def accuracy(model: Any, feed: Hdf5Feed, *, flag: bool) -> tuple[float, int]:  # noqa: ANN401 - Keras has no types
    """Return the part of the patches of an epoch whose camera is known, and how many patches there are."""
    right = count = 0
    for batch in feed:
        inputs: Any = batch["image"]
        if flag:
            inputs = [inputs, (batch["manipulation"] > 0).astype(np.float32)[:, np.newaxis]]
        right += int((model.predict_on_batch(inputs).argmax(axis=1) == batch["label"]).sum())
        count += len(batch["label"])
    return right / count, count


def evaluate(run: Path, validation: Path, batch_size: int) -> dict[str, float]:
    """Print and return the accuracy under each manipulation. Raises SpecError if run and file do not fit."""
    parameters, model = load(run)
    height, width, _ = parameters["image"]
    found: dict[str, float] = {}
    with Hdf5Feed(validation, manipulation=0) as stored:
        names = stored.manipulations
        if list(stored.classes) != parameters["classes"]:
            raise SpecError(
                f"{str(validation)!r} holds the classes {', '.join(stored.classes)}; {str(run)!r} was trained on "
                f"{', '.join(parameters['classes'])}"
            )
    for name in names:
        with Hdf5Feed(
            validation, batch_size=batch_size, crop=(height, width), crop_at="center", manipulation=name
        ) as feed:
            found[name], count = accuracy(model, feed, flag=parameters["flag"])
        print(f"{name:>12}  {found[name]:7.1%} of {count}")
    print(f"{'mean':>12}  {np.mean(list(found.values())):7.1%}")
    (run / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("validation", type=Path, help="HDF5 file of patches under each manipulation")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.batch_size < 1:
        parser.error(f"--batch-size {options.batch_size}: give 1 or more")
    try:
        evaluate(options.run, options.validation, options.batch_size)
    except PenstockError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
