"""A stack as a Slurm job: `plan.py` is what was asked for, `script.py` the batch script, `job.py` runs inside of it."""
