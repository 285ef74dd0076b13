"""Train with JAX on all devices: each batch is divided among a mesh of them, and copied ahead while the step runs.

    penstock up examples/imagenet.toml --root photos=/your/photos         # once: the workers
    python examples/jax_mesh.py tcp://127.0.0.1:5557
    XLA_FLAGS=--xla_force_host_platform_device_count=4 python examples/jax_mesh.py ...    # four devices out of one CPU

Started in every process of a job of several hosts, with `jax.distributed.initialize()` before, each process is a rank
of the stream. Killed and started again, it continues with the very next batch.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # pyright: ignore[reportMissingImports]

import penstock

Parameters = dict[str, Any]


def initial(classes: int, filters: int = 32) -> Parameters:
    """Return the parameters of a small network: two convolutions and a linear layer."""
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = {"first": (3, 3, 3, filters), "second": (3, 3, filters, filters), "last": (filters, classes)}
    return {
        name: jax.random.normal(key, shape) * np.sqrt(2 / np.prod(shape[:-1]))
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def logits_of(parameters: Parameters, images: Any) -> Any:  # noqa: ANN401 - JAX has no types here
    """Return the logits of uint8 images (n, height, width, channels)."""
    values = images.astype(jnp.float32) / 127.5 - 1
    for name in ("first", "second"):
        axes = ("NHWC", "HWIO", "NHWC")
        values = jax.nn.relu(jax.lax.conv_general_dilated(values, parameters[name], (2, 2), "SAME", None, None, axes))
    return values.mean((1, 2)) @ parameters["last"]


def loss_of(parameters: Parameters, images: Any, labels: Any) -> Any:  # noqa: ANN401 - JAX has no types here
    """Return the mean cross entropy of a batch."""
    chances = jax.nn.log_softmax(logits_of(parameters, images))
    return -jnp.take_along_axis(chances, labels[:, None], 1).mean()


def train_step(parameters: Parameters, images: Any, labels: Any, rate: float) -> tuple[Parameters, Any]:  # noqa: ANN401
    """Return the parameters after a step of gradient descent, and the loss before it."""
    loss, gradients = jax.value_and_grad(loss_of)(parameters, images, labels)
    return jax.tree.map(lambda value, slope: value - rate * slope, parameters, gradients), loss


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sink", help="address of a running stack's sink; its keys: PENSTOCK_KEYS")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--save-every", type=int, default=200, metavar="BATCHES")
    parser.add_argument("--run", type=Path, default=Path("run"))
    options = parser.parse_args()

    mesh = Mesh(np.array(jax.devices()), ("batch",))
    divided, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    step = jax.jit(train_step, donate_argnums=(0, 1))  # the loader keeps no reference to a batch
    file = options.run / f"jax-{jax.process_index()}.npz"
    with penstock.connect(options.sink, "train") as feed:
        loader = feed.jax(divided, fields=("image", "label"))
        parameters = initial(len(feed.classes))
        if file.exists():
            with np.load(file) as saved:
                parameters = {name: saved[name] for name in parameters}
                loader.load_state_dict(json.loads(str(saved["position"])))
        parameters = jax.device_put(parameters, whole)
        for epoch in range(feed.upcoming_epoch(), options.epochs):
            loss: Any = jnp.nan
            for number, (images, labels) in enumerate(loader, 1):
                parameters, loss = step(parameters, images, labels, options.rate)
                if number % options.save_every == 0:
                    save(file, parameters, loader)
            save(file, parameters, loader)
            if jax.process_index() == 0:
                said = f"epoch {epoch}: loss {float(loss):.3f} on {jax.device_count()} device(s)"
                print(f"{said}, waited {feed.stats.wait_fraction:.0%}")


def save(file: Path, parameters: Parameters, loader: Any) -> None:  # noqa: ANN401 - JAX has no types here
    """Save the parameters and the position in one file, which is replaced when it is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new.npz")  # numpy adds .npz to other names
    np.savez(new, position=json.dumps(loader.state_dict()), **jax.device_get(parameters))
    new.replace(file)


if __name__ == "__main__":
    main()
