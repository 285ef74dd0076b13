"""Arguments of PyTorch's `DataLoader` that the drop-in has no parameter for: accepted, mapped or refused.

What describes the loader as it is anyway is accepted. What would change which samples come, in what order or how they
are stacked is refused, with what to do instead: ignoring it would silently train on something else.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from penstock.protocol.errors import SpecError

#: Accepted whatever their value: workers are programs of their own that persist, and memory is pinned for CUDA devices.
_WITHOUT_EFFECT = ("pin_memory", "pin_memory_device", "persistent_workers", "multiprocessing_context")
#: Refused unless they are None, and what to do without each.
_INSTEAD = {
    "sampler": "items come once an epoch, in the order that seed= and shuffle= determine: leave it out; for a part of "
    "the dataset give torch.utils.data.Subset, and ranks are found without a DistributedSampler",
    "batch_sampler": "batches follow from batch_size=, shuffle= and drop_last=: give these",
    "collate_fn": "workers stack samples of one dtype and shape: pad or crop in the dataset's __getitem__, or change "
    "the batch in the training loop",
    "worker_init_fn": "random generators are seeded for each item: open files in the dataset's __init__, which every "
    "worker calls",
    "generator": "the order and all draws follow from seed=: give that",
}


def feed_options(arguments: Mapping[str, Any], workers: int | None) -> dict[str, Any]:
    """Return the options of a feed that further arguments of PyTorch's `DataLoader` stand for.

    `timeout` above 0 is how long a batch may take; `prefetch_factor` is a number of batches for each of `workers`.
    Raises SpecError for arguments that have no counterpart.
    """
    refused = [reason for name, value in arguments.items() if (reason := _refusal(name, value))]
    if refused:
        raise SpecError("DataLoader: " + "; ".join(refused))
    options: dict[str, Any] = {}
    if arguments.get("timeout"):
        options["timeout_s"] = float(arguments["timeout"])
    if arguments.get("prefetch_factor") is not None:
        options["prefetch"] = int(arguments["prefetch_factor"]) * max(1, workers or 1)
    return options


def _refusal(name: str, value: Any) -> str:
    """Return why an argument is refused; empty: it is not."""
    why = ""
    if name in _INSTEAD:
        why = "" if value is None else _INSTEAD[name]
    elif name == "in_order":
        why = "" if value is True else "batches always come in order: leave it out"
    elif name == "timeout":
        valid = not isinstance(value, bool) and isinstance(value, Real) and 0 <= float(value) < math.inf
        why = "" if valid else "give seconds, 0 or more; with 0, the feed's own deadline ends a wait"
    elif name == "prefetch_factor":
        valid = value is None or (not isinstance(value, bool) and isinstance(value, Integral) and int(value) > 0)
        why = "" if valid else "give a number of batches, 1 or more, or leave it out"
    elif name not in _WITHOUT_EFFECT:
        why = "there is no such argument: see help(penstock.torch.DataLoader)"
    return f"{name} = {value!r}: {why}" if why else ""
