"""The ventilator: owns "to do". Lists sources, leases tasks, requeues and hedges them."""
