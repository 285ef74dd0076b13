"""Which of several ventilators acts: decided by records in a folder that all of them reach."""
