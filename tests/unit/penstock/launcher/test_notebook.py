"""What a notebook shows of specs and stacks: the facts, and other people's text as text."""

from dataclasses import dataclass
from html.parser import HTMLParser

from support.snapshots import make_line, make_snapshot

from penstock.launcher.notebook import stack_html
from penstock.protocol.errors import StackError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.spec import parse_spec

HOSTILE = "<script>alert('x')</script>\"'&"


@dataclass
class Shown:
    """A stack as far as it is shown."""

    answer: Snapshot | None
    running: bool = True
    workers: int = 2
    state: str = "running in /run"
    dashboard: str = ""

    def snapshot(self) -> Snapshot:
        """Return the answer."""
        if self.answer is None:
            raise StackError("the ventilator does not say how it goes")
        return self.answer


class Checker(HTMLParser):
    """Gathers the tags and the text of a page; every tag that opens must close."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.words, self.tags, self._open = "", set[str](), list[str]()
        self.feed(page)
        assert [] == self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Open a tag."""
        del attrs
        self.tags.add(tag)
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert tag == self._open.pop()

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.words += f"{data}|"


def test_a_running_stack_shows_verdict_progress_and_what_failed() -> None:
    """Names and reasons cannot become HTML."""
    snapshot = make_snapshot(ledger=[make_line(1, path=HOSTILE, reason="the file is <empty>")])
    if snapshot.sink:
        snapshot = snapshot.model_copy(update={"sink": snapshot.sink.model_copy(update={"quarantined": 1})})
    page = Checker(stack_html(Shown(snapshot, dashboard="http://127.0.0.1:5550/?a=1&b='")))
    for words in (
        "Worker-bound|",
        "Add 2 workers|",
        "500 of 1,000|",
        f"{HOSTILE}: the file is <empty>|",
        "no trainer|",
    ):
        assert words in page.words
    assert "script" not in page.tags
    assert "a" in page.tags


def test_a_stack_that_does_not_answer_shows_its_state() -> None:
    """Before its start, after its stop, and if the ventilator is busy: nothing is raised into the notebook."""
    for stack in (Shown(None, running=False, state="stopped"), Shown(None, state="running in <run>")):
        page = Checker(stack_html(stack))
        assert "Stack with 2 workers|" in page.words
        assert stack.state in page.words


def test_a_spec_shows_its_streams() -> None:
    """Source, sample, batch and random changes."""
    stream = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {"resize": [64, 48], "augment": {"horizontal_flip": True}},
    }
    spec = parse_spec({"seed": 3, "roots": {"photos": f"/data/{HOSTILE}"}, "streams": {"train": stream}})
    page = Checker(spec._repr_html_())
    for words in ("seed 3|", f"directory in /data/{HOSTILE}|", "64 × 48 × 3|", "32|", "horizontal_flip|"):
        assert words in page.words
