"""The one-shot service `output`: finds out whether the folder for HDF5 files can be written to, before anything starts.

python check_output.py FOLDER
"""

import os
import sys
import tempfile


def main() -> int:
    """Try; return 0, or 2 after saying in words what to do."""
    try:
        with tempfile.TemporaryFile(dir=sys.argv[1]):
            return 0
    except OSError as error:
        print(
            f"OUTPUT cannot be written by user {os.geteuid()}:{os.getegid()} of the containers ({error.strerror}): "
            "make the folder before, let that user write to it, or say RUN_AS=$(id -u):$(id -g)",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
