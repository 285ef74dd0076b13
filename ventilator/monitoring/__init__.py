"""What the ventilator shows of the whole stack: snapshots, metrics, and what limits the speed."""
