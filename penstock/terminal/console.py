"""The console of every command: text appears exactly as it is, even if file and class names look like markup.

rich would take `[…]` for markup and `:name:` for an emoji, and pass control characters on to the terminal.
"""

from typing import Any

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.status import Status
from rich.text import Text

from penstock.protocol.runtime.printable import printable

#: Letters that are no text and yet wanted: our own line ends.
_KEPT = "\n"


class PlainConsole(Console):
    """A console without markup; unprintable characters are escaped. Styles are given by rich's own objects."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Print to standard output, or error."""
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's
        """Return the text as it is shown."""
        return super().render_str(printable(text, _KEPT), **options)

    def waiting(self, what: str) -> Status:
        """Return a spinner next to `what`."""
        return self.status(Text(printable(what)))


class PlainColumn(TextColumn):
    """A column of a progress display whose text is no markup."""

    def render(self, task: Task) -> Text:
        """Return the column's text for a task."""
        return Text(printable(self.text_format.format(task=task)), style=self.style, justify=self.justify)
