"""Lets a listing that takes long say how far it is, to the program that shows that."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

_TELL: ContextVar[Callable[[str], object] | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Callable[[str], object]) -> Generator[None]:
    """Give `tell` what is told while the block lasts."""
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


def told(text: str) -> None:
    """Say how far the listing is."""
    if (tell := _TELL.get()) is not None:
        tell(text)
