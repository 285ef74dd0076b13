"""What commands share on a terminal: a spinner, Ctrl-C, and child processes that report progress."""
