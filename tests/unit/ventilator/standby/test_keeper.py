"""The thread that keeps a record: one of two acts, and the other one once the first has left or lost the folder."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.streams import until

from penstock.ventilator.standby.keeper import Keeper


@contextmanager
def keeper(folder: Path, name: str) -> Generator[Keeper]:
    """Run a keeper that others wait half a second for."""
    made = Keeper(str(folder), 0.5, f"tcp://{name}:5555", lambda: None)
    try:
        yield made
    finally:
        made.close()


def test_one_acts_and_the_next_one_once_it_has_left(tmp_path: Path) -> None:
    """With a higher term, by which the first may not send any more; both know who acts and who waits."""
    with ExitStack() as first, keeper(tmp_path, "b") as b:
        until(lambda: b.term > 0, "the first to act")
        a = first.enter_context(keeper(tmp_path, "a"))
        until(lambda: a.standing().holder.endswith("at tcp://b:5555"), "the other one to know who acts")
        until(lambda: len(b.standing().waiting) == 1, "the first to know that another one waits")
        assert 0 == a.term
        before = b.term
        assert b.may_act(before)
        b.close()
        until(lambda: a.term > 0, "the other one to act")
        assert before < a.term
        assert not b.may_act(before)
        assert not b.may_act(a.term)


def test_one_whose_folder_is_gone_does_not_act(tmp_path: Path) -> None:
    """It acts again, with a new term, once the folder is back."""
    folder = tmp_path / "records"
    folder.mkdir()
    with keeper(folder, "a") as a:
        until(lambda: a.term > 0, "it to act")
        before = a.term
        folder.rename(tmp_path / "away")
        until(lambda: a.term == 0, "it to stop")
        assert not a.may_act(before)
        until(lambda: "folder of records" in a.standing().why, "it to say why")
        (tmp_path / "away").rename(folder)
        until(lambda: a.term > before, "it to act again")
