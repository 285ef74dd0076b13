"""A job's plan, and small programs in place of Slurm's, for tests without a cluster."""

import sys
from pathlib import Path

from penstock.launcher.slurm.plan import JobPlan

#: What a job without GPUs was asked for: a worker an element of its array.
PLAN = JobPlan(
    python=sys.executable,
    name="penstock",
    command=("true",),
    folder="/",
    nodes=1,
    ranks_per_node=1,
    cpus_per_rank=1,
    gpus_per_node=0,
    workers_per_node=0,
    sink_per_node=False,
    array=(0, 8),
    workers_per_element=1,
    array_first=0,
    array_follows=False,
    options=(),
    worker_options=(),
    prologue="",
    worker_prologue="",
    signal_s=120,
    requeue=True,
    ports=(20000, 31999),
)


def program(path: Path, words: str) -> None:
    """Write a program of the shell, which runs in its own folder."""
    path.write_text(f"#!/bin/sh\ncd {path.parent}\n{words}\n")
    path.chmod(0o700)
