"""A command for tests, written as a user of the extension point would write one: `penstock toy --times 3 WORD`."""

import sys
from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings


class ToySettings(Settings):
    """Repeats a word."""

    word: CliPositionalArg[str]
    """The word."""
    times: int = Field(default=2, ge=1)
    """How often to print it."""


def serve(settings: ToySettings) -> int:
    """Print the word."""
    sys.stdout.write(" ".join([settings.word] * settings.times) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock toy`."""
    return run(ToySettings, serve, "toy", arguments)
