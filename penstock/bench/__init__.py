"""`penstock bench`: times a stream with different numbers of workers and writes a report with pictures."""
