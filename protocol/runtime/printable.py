"""Makes text of unknown origin safe for a terminal: file names can hold control characters."""

from contextlib import suppress


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with unprintable characters escaped, such as \x1b; characters of `keep` stay as they are."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else repr(letter)[1:-1] for letter in text)


def say(text: str) -> None:
    """Print our own text with names and paths in it: line breaks stay, other control characters are escaped."""
    print(printable(text, keep="\n"), flush=True)


def try_to_say(text: str) -> None:
    """Do as `say`, where the log may lie on the very disk or file server that fails."""
    with suppress(OSError):
        say(text)
