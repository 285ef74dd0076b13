"""Learn which camera model took a photo: train on live patches, validate on a file of them. README.md has the commands.

The run's folder gets `run.json` (its parameters), `best.keras` (the model of least validation loss), `history.csv`
and the checkpoint: killed at any moment and started again, the same command goes on where it was.
"""

import argparse
import csv
import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is loaded

import keras
import tensorflow as tf

import penstock
from penstock import Feed, Hdf5Feed, PenstockError, SpecError

#: Parameters that a run cannot change once it has begun: they shape the network and what its outputs mean.
FIXED = ("classes", "image", "alpha", "dense", "flag")
#: Least side of an image that MobileNet takes (pixels).
LEAST_SIDE = 32
#: Of the averages that batch normalisation validates with: at Keras's 0.99, MobileNet's 27 layers of it lag behind what
#: was trained by more batches than a short run has.
MOMENTUM = 0.9


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options. Exits in words if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stack = parser.add_mutually_exclusive_group(required=True)
    stack.add_argument("--spec", type=Path, help="spec with the stream `train`, for workers on this machine")
    stack.add_argument("--connect", metavar="ADDRESS", help="sink of a running stack, such as tcp://host:5557")
    parser.add_argument("--stream", default="train", help="stream to train on (default: %(default)s)")
    parser.add_argument("--root", action="append", default=[], metavar="NAME=/PATH", help="a root of the spec")
    parser.add_argument("--workers", type=int, help="worker processes of --spec (default: one per core)")
    parser.add_argument("--keys", type=Path, help="key folder for --connect")
    parser.add_argument("--validation", type=Path, required=True, metavar="FILE.h5", help="patches to validate on")
    parser.add_argument("--validation-batch", type=int, default=32, help="batch size (default: %(default)s)")
    parser.add_argument("--run", type=Path, default=Path("run"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, help="batches that count as an epoch (default: those of the stream)")
    parser.add_argument("--alpha", type=float, default=1.0, help="width of MobileNet (default: %(default)s)")
    parser.add_argument("--dense", type=int, default=256, help="units of the head (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="MobileNet's weights to begin with (default: random)")
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--flag", action=flag, default=True, help="second input: is the patch manipulated?")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate to begin with (default: %(default)s)")
    parser.add_argument("--patience", type=int, default=5, help="epochs without gain that halve it")
    parser.add_argument("--save-every", type=int, default=100, help="batches between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of weights and of validation (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name in ("epochs", "steps", "dense", "patience", "save_every", "validation_batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: give 1 or more")
    for name in ("alpha", "rate"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name} {getattr(options, name)}: give a number above 0")
    for file in (options.spec, options.weights, options.validation):
        if file is not None and not file.is_file():
            parser.error(f"{str(file)!r}: no such file; README.md says how it comes about")
    if bad := [root for root in options.root if "=" not in root]:
        parser.error(f"--root {bad[0]!r}: give name=/path")
    if options.connect and (options.root or options.workers is not None):
        parser.error("--root and --workers are of --spec: the stack at --connect has its own")
    return options


def build_model(shape: tuple[int, ...], classes: int, options: argparse.Namespace) -> Any:  # noqa: ANN401 - Keras has no types
    """Return MobileNet with a dense head, compiled: of images (uint8) and, with the flag, whether they are manipulated.

    Raises SpecError if the weights are not those of this network.
    """
    image = keras.Input(shape, dtype="uint8", name="image")
    mobile_net: Any = keras.applications.MobileNet
    try:
        body = mobile_net(
            input_shape=shape,
            alpha=options.alpha,
            include_top=False,
            pooling="avg",
            weights=str(options.weights) if options.weights else None,
        )
    except (ValueError, OSError) as error:
        raise SpecError(
            f"--weights {str(options.weights)!r} do not fit a MobileNet without its top and with alpha = "
            f"{options.alpha:g}: {str(error).splitlines()[0]}"
        ) from error
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    inputs, features = [image], body(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image))
    if options.flag:
        inputs.append(keras.Input((1,), name="manipulated"))
        features = keras.layers.Concatenate()([features, inputs[1]])
    hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(options.dense, activation="relu")(features))
    model = keras.Model(inputs, keras.layers.Dense(classes)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(options.rate), loss=loss, metrics=["accuracy"])
    return model


def pairs(feed: Any, *, flag: bool) -> Any:  # noqa: ANN401 - a feed of either kind; a dataset
    """Return a feed's batches as (inputs, labels)."""
    known = [field.name for field in feed.schema]
    if flag and "manipulation" not in known:
        raise SpecError(f"{feed!r} has no field `manipulation` but {', '.join(known)}: train with --no-flag")
    if not flag:
        return feed.dataset(("image", "label"))

    def pair(image: Any, manipulation: Any, label: Any) -> Any:  # noqa: ANN401 - tensors
        return (image, tf.cast(manipulation[:, tf.newaxis] > 0, tf.float32)), label

    return feed.dataset(("image", "manipulation", "label")).map(pair).prefetch(2)


def open_validation(train: Feed, options: argparse.Namespace) -> Hdf5Feed:
    """Return the stored patches, cut, turned and manipulated at random. Raises SpecError if they have other classes."""
    height, width = image_shape(train)[:2]
    validation = Hdf5Feed(
        options.validation,
        batch_size=options.validation_batch,
        crop=(height, width),
        rot90=height == width,
        manipulation="random",
        seed=options.seed,
    )
    if validation.classes != train.classes:
        raise SpecError(
            f"{str(options.validation)!r} holds the classes {', '.join(validation.classes)}, and the stream trains on "
            f"{', '.join(train.classes)}: write it from the same lists"
        )
    return validation


def image_shape(train: Feed) -> tuple[int, ...]:
    """Return the shape of what is trained on. Raises SpecError if it is nothing for MobileNet."""
    image = {field.name: field for field in train.schema}.get("image")
    if image is None or image.dtype != "uint8" or image.shape[2:] != (3,) or min(image.shape[:2]) < LEAST_SIDE:
        raise SpecError(
            f"{train!r} has {image or 'no field `image`'}: MobileNet takes images of uint8 (height, width, 3) with "
            f"sides of at least {LEAST_SIDE}"
        )
    return image.shape


def describe(train: Feed, validation: Hdf5Feed, options: argparse.Namespace) -> dict[str, Any]:
    """Return the run's parameters."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        **given,
        "classes": list(train.classes),
        "image": list(image_shape(train)),
        "train": {"fingerprint": train.plan.fingerprint, "spec": train.plan.settings.model_dump(mode="json")},
        "validation_fingerprint": validation.plan.fingerprint,
        "versions": {
            "penstock": penstock.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
    }


def keep(file: Path, parameters: dict[str, Any]) -> None:
    """Write a run's parameters; if it began earlier, leave them. Raises SpecError if it began as another run."""
    try:
        earlier: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(parameters, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(file)
        return
    except (ValueError, TypeError) as error:
        raise SpecError(f"{file}: not a run's parameters: {error}; give another --run") from error
    for name in FIXED:
        if earlier.get(name) != parameters[name]:
            raise SpecError(
                f"{file}: this run was begun with {name} = {earlier.get(name)!r}, now it is {parameters[name]!r}: give "
                "the same, or another --run"
            )


def best_so_far(history: Path) -> float | None:
    """Return the least validation loss of the epochs that a run has seen."""
    if not history.is_file():
        return None
    with history.open(encoding="utf-8", newline="") as file:
        return min((float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss")), default=None)


def train_on(train: Feed, options: argparse.Namespace) -> None:
    """Train, going on where an earlier run stopped."""
    run: Path = options.run
    with open_validation(train, options) as validation:
        keep(run / "run.json", describe(train, validation, options))
        keras.utils.set_random_seed(options.seed)
        checkpoint = penstock.keras.Checkpoint(train, run / "checkpoint", every_batches=options.save_every)
        model = checkpoint.restore(lambda: build_model(image_shape(train), len(train.classes), options))
        history, best = run / "history.csv", run / "best.keras"
        monitor: dict[str, Any] = {"monitor": "val_loss", "verbose": 1}
        so_far = best_so_far(history) if best.is_file() else None
        callbacks = [
            keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=options.patience, min_lr=1e-6, **monitor),
            keras.callbacks.ModelCheckpoint(str(best), save_best_only=True, initial_value_threshold=so_far, **monitor),
            keras.callbacks.CSVLogger(history, append=True),
            checkpoint,  # last: what it saves, the others have seen
        ]
        model.fit(
            pairs(train, flag=options.flag),
            validation_data=pairs(validation, flag=options.flag),
            epochs=options.epochs,
            steps_per_epoch=options.steps,
            initial_epoch=checkpoint.initial_epoch,
            callbacks=callbacks,
            shuffle=False,  # the stream is shuffled
            verbose=2,
        )
    print(f"waiting for batches took {train.stats.wait_fraction:.0%} of the time")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; return the exit status."""
    options = parse(arguments)
    try:
        with ExitStack() as cleanup:
            if options.connect:
                train = penstock.connect(options.connect, options.stream, keys=options.keys)
            else:
                roots = dict(root.split("=", 1) for root in options.root)
                stack = penstock.local(
                    options.spec, workers=options.workers, roots=roots, run_dir=options.run / "stack"
                )
                train = cleanup.enter_context(stack).feed(options.stream)
            train_on(cleanup.enter_context(train), options)
    except PenstockError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
