"""Which host a unit of work is best made on, and which workers are free there. No I/O."""
