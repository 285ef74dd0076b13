"""A process that may open too few files for its sockets is told what to raise."""

import resource
from collections.abc import Iterator

import pytest

from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import StackError
from penstock.protocol.transport.open_files import limit_explained


@pytest.fixture
def few_files() -> Iterator[int]:
    """Allow this process no file beyond those it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    yield 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_open_files_are_an_error_in_words(few_files: int) -> None:
    """The error quotes the limit and names the command that raises it; libzmq would end the process."""
    with pytest.raises(StackError, match=rf"this process may open {few_files}, .*`ulimit -n 1024`"):
        Onlooker("tcp://127.0.0.1:9")


def test_other_errors_pass() -> None:
    """They are not about open files."""
    with pytest.raises(FileNotFoundError), limit_explained():
        raise FileNotFoundError(2, "No such file or directory")
