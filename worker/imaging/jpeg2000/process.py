"""Decodes images in a process of its own, for formats whose decoder holds the interpreter.

OpenJPEG, called by Pillow, holds Python's global lock for half a second a megapixel and more: the thread that answers
heartbeats would stand still for as long. The process is started with the first such image, decodes one image after the
other, and ends when its input does. Its memory is limited, and an image that takes too long, or ends the process, fails
alone.
"""

import os
import select
import struct
import subprocess
import sys
import time
import weakref

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError

Pixels = npt.NDArray[np.uint8]

#: Longest time (seconds) that one image may take.
DEADLINE_S = 60.0
#: Longest time (seconds) that the process may take to end after its input did, before it is killed.
_LEAVE_S = 5.0
#: The program that the process runs.
_PROGRAM = "penstock.worker.imaging.jpeg2000.child"

#: Channels, whether orientation counts, the limit on pixels, and the length of the file that follows.
REQUEST = struct.Struct(">B?QQ")
#: Height, width and channels of the pixels that follow; or zeros and, as the last, the length of the reason that does.
REPLY = struct.Struct(">QQBQ")


class DecoderProcess:
    """A process that decodes; for use by one thread at a time."""

    def __init__(self, channels: int, *, exif_orientation: bool, max_pixels: int) -> None:
        """Take what the decoder takes; nothing is started yet."""
        self._settings = channels, exif_orientation, max_pixels
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes) -> Pixels:
        """Return the pixels of a file (height, width, channels). Raises ItemError."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101 - a pipe
        try:
            deadline = time.monotonic() + DEADLINE_S
            for part in (REQUEST.pack(*self._settings, len(data)), data):
                _write(process.stdin.fileno(), part, deadline)
            return _receive(process.stdout.fileno(), deadline)
        except (OSError, EOFError, TimeoutError) as error:
            process.kill()
            code = process.wait()
            self._process = None
            if isinstance(error, TimeoutError):
                raise ItemError(f"decoding takes longer than {DEADLINE_S:g} s") from error
            raise ItemError(f"decoding it ended the process that decodes (exit status {code})") from error

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: the working folder is no place for modules. A session of its own: Ctrl-C is the worker's matter.
        command = [sys.executable, "-P", "-m", _PROGRAM]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        weakref.finalize(self, _end, process, os.getpid())
        return process


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Close the process's input, and wait; in a fork of its owner, do nothing."""
    if os.getpid() != owner:
        return
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _receive(descriptor: int, deadline: float) -> Pixels:
    """Return the pixels that a reply holds. Raises ItemError for a reason, EOFError and TimeoutError."""
    head = np.empty(REPLY.size, np.uint8)
    _fill(descriptor, head, deadline)
    height, width, channels, length = REPLY.unpack(head.tobytes())
    if length:
        reason = np.empty(length, np.uint8)
        _fill(descriptor, reason, deadline)
        raise ItemError(reason.tobytes().decode())
    pixels = np.empty((height, width, channels), np.uint8)
    _fill(descriptor, pixels.reshape(-1), deadline)
    return pixels


def _write(descriptor: int, content: bytes, deadline: float) -> None:
    """Write it all; raises TimeoutError, and OSError if the process has ended."""
    view = memoryview(content)
    while view:
        _wait(descriptor, select.POLLOUT, deadline)
        view = view[os.write(descriptor, view) :]


def _fill(descriptor: int, room: Pixels, deadline: float) -> None:
    """Read until the room is full; raises TimeoutError, and EOFError if the process has ended."""
    view = room.data
    while view:
        _wait(descriptor, select.POLLIN, deadline)
        read = os.readv(descriptor, [view])
        if not read:
            raise EOFError
        view = view[read:]


def _wait(descriptor: int, events: int, deadline: float) -> None:
    waiting = select.poll()
    waiting.register(descriptor, events)
    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
