"""Memory that processes share, across mount namespaces: what looks like a segment from elsewhere need not be one."""

import subprocess
import sys
from pathlib import Path

import pytest
from hosts.lab import why_not

from penstock.protocol.messages import Reference
from penstock.protocol.transport.segments import Segment

pytestmark = pytest.mark.hosts

#: Opens a file that lies at the top of a mount, detaches that, and says its descriptor.
HOLDER = """
import os, subprocess, sys, time
descriptor = os.open(sys.argv[1] + "/memfd:penstock", os.O_RDWR | os.O_CREAT)
os.ftruncate(descriptor, 4096)
subprocess.run(["umount", "--lazy", sys.argv[1]], check=True)
print(descriptor, flush=True)
time.sleep(600)
"""


def test_a_file_whose_path_looks_like_a_segment_is_none(tmp_path: Path) -> None:
    """Any user with the right to mount can make one: as another process sees its path, it is that of a segment."""
    if reason := why_not():
        pytest.skip(f"NOT TESTED ACROSS MOUNTS: {reason}")
    mount = f'mount -t tmpfs none "$0" && exec "{sys.executable}" -c "$1" "$0"'
    command = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path), HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout
            descriptor = int(holder.stdout.readline())
            link = Path(f"/proc/{holder.pid}/fd/{descriptor}").readlink()
            assert "/memfd:penstock" == str(link), "the trap is none"
            named = Reference(pid=holder.pid, descriptor=descriptor, token="0" * 32, generation=1)
            with pytest.raises(OSError, match="is no segment"):
                Segment.attach(named, writable=True)
        finally:
            holder.kill()
