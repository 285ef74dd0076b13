"""Whether settings keep what their docstrings say, for `--help`."""

#: Reading it from the source takes a tenth of a second. A process that runs services and no command line sets this to
#: False before it imports any settings.
wanted = True
