"""The ventilator's decisions: which worker gets which task, and what happens when one fails. No I/O."""
