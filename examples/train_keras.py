"""Train a Keras network from a stack of its own; killed at any moment and started again, it continues where it was.

    python examples/train_keras.py examples/directory.toml --root photos=/your/photos --epochs 5
    python examples/train_keras.py --sink tcp://127.0.0.1:5557     # from a running stack, as docker-compose.yml does

The spec has the streams `train` and `validation`. The checkpoint and the logs go to `--run` (default: `run`).
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras

import penstock


def build_model(feed: penstock.Feed) -> Any:  # noqa: ANN401 - Keras has no types
    """Return a small compiled network for the feed's images (uint8) and classes."""
    layers: list[Any] = [keras.Input(feed.schema[0].shape, dtype="uint8"), keras.layers.Rescaling(1 / 127.5, offset=-1)]
    for filters in (16, 32, 64):
        layers += [
            keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.8),  # adapts fast: an epoch may have few batches
            keras.layers.ReLU(),
        ]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(len(feed.classes))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, metrics=["accuracy"])
    return model


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("spec", nargs="?")
    where.add_argument("--sink", help="address of a running stack's sink; its keys: PENSTOCK_KEYS")
    parser.add_argument("--root", action="append", default=[], metavar="name=/path")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--run", type=Path, default=Path("run"))
    options = parser.parse_args()
    roots = dict(root.split("=", 1) for root in options.root)

    with ExitStack() as opened:
        if options.sink:
            feeds = [opened.enter_context(penstock.connect(options.sink, name)) for name in ("train", "validation")]
        else:
            stack = penstock.local(options.spec, workers=options.workers, roots=roots, run_dir=options.run)
            opened.enter_context(stack)
            feeds = [stack.feed(name) for name in ("train", "validation")]
        train, validation = feeds
        checkpoint = penstock.keras.Checkpoint(train, options.run / "checkpoint", every_batches=100)
        model = checkpoint.restore(lambda: build_model(train))
        if checkpoint.initial_epoch >= options.epochs:
            print(f"{options.run}: trained for {checkpoint.initial_epoch} epochs already; --epochs more, or remove it")
            return
        print(f"{len(train.classes)} classes, {train.batches_per_epoch} batches an epoch")
        model.fit(
            train.dataset(),
            validation_data=validation.dataset(),
            epochs=options.epochs,
            initial_epoch=checkpoint.initial_epoch,
            callbacks=[checkpoint],
            verbose=2,
        )
        print(f"waiting for batches took {train.stats.wait_fraction:.0%} of the time")


if __name__ == "__main__":
    main()
