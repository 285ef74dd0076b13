"""`penstock plan`: how many workers, sinks and how much network a job needs, from costs measured here."""
