"""The arithmetic of `penstock plan`: from the costs of a stream to what a job needs. Pure functions.

A part is planned to be busy for at most `BUSY` of its time, as the scaling of workers does. Samples per second times
processor seconds per sample are cores; samples per second times bytes are the network.
"""

import math
from dataclasses import dataclass

#: The fraction of its time that a part may be busy.
BUSY = 0.8
#: Bits per second of a link per Gbit/s, and bits of a byte.
_GIGA, _BITS = 1e9, 8


@dataclass(frozen=True, slots=True)
class Costs:
    """What one sample of a stream costs each part: seconds of a processor, and bytes."""

    worker_s: float
    sink_s: float
    trainer_s: float
    #: Of a task, however many samples it has.
    ventilator_s_per_task: float
    samples_per_task: float
    #: Bytes of a sample as it travels, and of its share of the file that it is made of.
    sample_bytes: float
    read_bytes: float


@dataclass(frozen=True, slots=True)
class Job:
    """A training job."""

    nodes: int
    gpus_per_node: int
    samples_per_gpu: float
    #: Gbit/s that one node can receive.
    network_gbit: float
    #: Of all workers, those that run on each of the nodes that train; the others run elsewhere.
    workers_per_node: int = 0

    @property
    def samples_per_s(self) -> float:
        """Samples that all GPUs take per second."""
        return self.nodes * self.gpus_per_node * self.samples_per_gpu

    @property
    def samples_per_node(self) -> float:
        """Samples that the GPUs of one node take per second."""
        return self.gpus_per_node * self.samples_per_gpu


@dataclass(frozen=True, slots=True)
class Need:
    """What one part of the stack needs."""

    part: str
    #: How many of it, each busy for at most `BUSY` of its time.
    count: int
    #: Cores that they keep busy, all together.
    cores: float
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that cannot be multiplied by starting more of it, and how many samples per second saturate it."""

    what: str
    samples_per_s: float
    advice: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a job needs, and what would saturate first if it grew."""

    needs: tuple[Need, ...]
    #: Gbit/s from storage to all workers, from all workers to the sinks, and into one trainer's node: samples that were
    #: made elsewhere, and files for the node's own workers.
    read_gbit: float
    made_gbit: float
    node_gbit: float
    #: The fraction of samples that are made on the node that trains on them, and Gbit/s of the others.
    near: float
    crossing_gbit: float
    #: Workers on each node that would make all of its samples there.
    near_workers: int
    #: By samples per second of the whole job, the lowest first.
    limits: tuple[Limit, ...]
    #: Samples per second that the job asks for.
    wanted: float

    @property
    def fits(self) -> bool:
        """Whether nothing that cannot be multiplied is saturated."""
        return self.limits[0].samples_per_s >= self.wanted


def plan_capacity(costs: Costs, job: Job) -> Capacity:
    """Return what `job` needs at these costs. One sink serves all trainers if it can, else each node has its own."""
    wanted, link = job.samples_per_s, job.network_gbit * _GIGA / _BITS
    by_sink = min(BUSY / costs.sink_s, link / costs.sample_bytes if job.nodes > 1 else math.inf)
    sinks = 1
    if wanted > by_sink:
        sinks = job.nodes * math.ceil(job.samples_per_node * costs.sink_s / BUSY)
    tasks = wanted / costs.samples_per_task
    # A worker prefers what the sink on its own node needs; one sink for several nodes is far from most of them.
    most_near = job.workers_per_node * BUSY / costs.worker_s if sinks > 1 or job.nodes == 1 else 0.0
    near = min(job.samples_per_node, most_near)
    far = job.samples_per_node - near
    needs = (
        Need("workers", math.ceil(wanted * costs.worker_s / BUSY), wanted * costs.worker_s, _each(costs.worker_s)),
        Need("sinks", sinks, wanted * costs.sink_s, _each(costs.sink_s)),
        Need("ventilator", 1, tasks * costs.ventilator_s_per_task, _per(costs.ventilator_s_per_task, "task")),
        Need("feeds", job.nodes * job.gpus_per_node, wanted * costs.trainer_s, _each(costs.trainer_s)),
    )
    limits = [
        Limit(
            "the ventilator's core",
            BUSY * costs.samples_per_task / costs.ventilator_s_per_task,
            "raise task_items: a larger task costs it little more",
        ),
        Limit(
            "the cores of the trainers' feeds",
            BUSY / costs.trainer_s * job.nodes * job.gpus_per_node,
            "send fewer bytes a sample: uint8, normalised on the device",
        ),
        Limit(
            f"the network of a trainer's node, {job.network_gbit:g} Gbit/s",
            _into_node(costs, most_near, link) * job.nodes,
            "send fewer bytes a sample (uint8, a smaller size)"
            + (", or run workers on the trainers' nodes" if costs.read_bytes < costs.sample_bytes else ""),
        ),
    ]
    if sinks == 1:
        more = "start a sink on each node" if job.nodes > 1 else "start several sinks on the node (--sinks 2)"
        limits.append(Limit("the one sink", by_sink, more))
    return Capacity(
        needs,
        wanted * costs.read_bytes * _BITS / _GIGA,
        wanted * costs.sample_bytes * _BITS / _GIGA,
        (far * costs.sample_bytes + near * costs.read_bytes) * _BITS / _GIGA,
        near / job.samples_per_node,
        job.nodes * far * costs.sample_bytes * _BITS / _GIGA,
        math.ceil(job.samples_per_node * costs.worker_s / BUSY),
        tuple(sorted(limits, key=lambda limit: limit.samples_per_s)),
        wanted,
    )


def _into_node(costs: Costs, most_near: float, link: float) -> float:
    """Return how many samples per second saturate a node that makes up to `most_near` of them itself."""
    if most_near * costs.read_bytes >= link:  # the files for its own workers fill the link
        return link / costs.read_bytes
    return most_near + (link - most_near * costs.read_bytes) / costs.sample_bytes


def _each(seconds: float) -> str:
    return _per(seconds, "sample")


def _per(seconds: float, what: str) -> str:
    """Return a processor time in words, with three digits."""
    return f"{float(f'{seconds * 1e6:.3g}'):,g} µs a {what}"
