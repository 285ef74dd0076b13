"""Commands that run a stack on an engine: a Slurm cluster."""
