"""The tier of the real tools' files: `make test-formats` makes the environment that it needs."""

import importlib.util

#: Other tiers do without these tools, and leave these tests out anyway.
collect_ignore_glob = [] if importlib.util.find_spec("lmdb") else ["test_*.py"]
