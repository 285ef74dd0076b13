"""Text of unknown origin, made safe for a terminal: names of files can hold what moves a cursor or hides other text."""


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with what cannot be printed spelt out, such as \x1b; letters of `keep` stay as they are."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else repr(letter)[1:-1] for letter in text)


def say(text: str) -> None:
    """Print a text of our own that holds names and paths: its lines stay, and nothing else acts on the terminal."""
    print(printable(text, keep="\n"), flush=True)
