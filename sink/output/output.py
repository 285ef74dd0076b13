"""Manages an output file and its parts on disk: finds what exists, commits pieces, and merges them into one file.

Theory of operation. An HDF5 file is damaged if its writer dies, so none is ever written in place. Samples
go into *pieces*, complete HDF5 files below `OUTPUT.parts`, each written under a temporary name, synced and renamed.
After each, the output's own name is replaced by a small file of virtual data sets over the pieces, which any HDF5
reader sees as one. In the end the pieces' chunks are copied, as they lie, into one file that takes the output's name,
and the parts go; or, sharded, pieces become shards in the output's folder, and the output stays a view. Killed at any
moment, the next run finds whole pieces, throws away what is torn and goes on from the last.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import h5py

from penstock.protocol.errors import OutputError
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.writer_jobs import Commit, Lost, Opened, RowsJob
from penstock.sink.output.combine import combine
from penstock.sink.output.durable_files import Disk, Lock
from penstock.sink.output.item_paths import Names
from penstock.sink.output.layout import EPOCH, Layout, OutputConfig
from penstock.sink.output.open_readers import OpenReaders
from penstock.sink.output.part_file import Piece, PieceWriter, read_lost, write_lost
from penstock.sink.output.paths import check_place, clear, parts_of, read_manifest, shards_of
from penstock.sink.output.resume import find_pieces, matching_plan, read_own
from penstock.sink.output.virtual_file import describe, look, missing_parts, write_view

#: Seconds that readers of an unfinished output may keep its parts from being removed, and how often to look.
_READERS_S, _LOOK_S = 10.0, 0.05


class Output:
    """One output of one stream, written by this process only."""

    def __init__(self, config: OutputConfig, plan: StreamPlan, disk: Disk, progress: Callable[[float], None]) -> None:
        """Lock it and read what exists; `progress` gets the completed fraction of the last step, 0 to 1.

        Raises OutputError if it must not be written.
        """
        self.path = Path(config.output).absolute()
        self.parts = parts_of(self.path)
        self.layout = Layout.of(plan)
        self.finished = False
        #: Whether the parts still exist although the output is finished: another process reads them.
        self.left_over = False
        #: Bytes of what is committed.
        self.size = 0
        #: Committed pieces, without gaps from position 0: shards first.
        self.pieces: list[Piece] = []
        self._config, self._plan, self._disk, self._progress = config, plan, disk, progress
        self._shard_rows = config.shard_rows(self.layout)
        self._writing: PieceWriter | None = None
        #: Replaced versions of the output, and the pieces that only they refer to.
        self._shown = OpenReaders(self.path)
        self._garbage: list[Path] = []
        check_place(config.output)
        self._may_go_on()  # before anything is made next to another program's file
        disk.patiently(lambda: self.parts.mkdir(exist_ok=True), self.parts)
        self._lock = Lock(self.parts / "lock", disk)
        try:
            self.names = Names(self.parts / "paths.h5", disk)
            self.finished = self._may_go_on()
            if self.finished:
                self._take_finished()
                clear(self.parts)
            else:
                self._resume()
        except BaseException:
            self._lock.release()
            raise

    @property
    def rows(self) -> int:
        """Samples that are committed."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def lost(self) -> tuple[Lost, ...]:
        """The quarantined items, in the order of positions."""
        return tuple(lost for piece in self.pieces for lost in piece.lost)

    @property
    def stop(self) -> int:
        """Position up to which everything is committed."""
        return self.pieces[-1].stop if self.pieces else 0

    def opened(self) -> Opened:
        """Return how much of the output exists."""
        return Opened(
            self.stop,
            self.rows,
            self.lost,
            len(self.pieces),
            listed=self.names.complete,
            finished=self.finished,
        )

    def append(self, rows: RowsJob) -> None:
        """Write samples into the piece that is open. Raises OutputError."""
        if self._writing is None:
            path = self.parts / f"{self._piece().name}.tmp"
            self._writing = PieceWriter(path, self.layout, self._config.compression, self._disk)
        self._writing.append(rows)

    def commit(self, commit: Commit) -> None:
        """Commit what was appended; the last commit finishes the output. Raises OutputError."""
        if commit.last and self._writing is None and self.stop < commit.stop:
            self.append(RowsJob((), 0, ()))
        if self._writing is not None:
            writing, self._writing = self._writing, None
            piece, path = writing.close(self._plan.fingerprint, self.stop, commit.stop, commit.lost), self._piece()
            self._disk.rename(piece.path, path)
            self.pieces.append(replace(piece, path=path))
            self._garbage = [other for other in self._garbage if other != path]  # a torn one had its name
        if self._shard_rows and (commit.last or self.rows % self._shard_rows == 0):
            self._make_shard()
        if commit.last:
            self._finish()
        else:
            self._show(complete=False)
        self._sweep()

    def close(self) -> None:
        """Close the output; what is not committed is lost."""
        self.names.close()
        if self._writing is not None:
            self._writing.drop()
            self._writing = None
        self._shown.close()
        self._lock.release()

    def _may_go_on(self) -> bool:
        """Return whether there is nothing left to do. Raises OutputError if an existing file must not be touched."""
        found = look(self.path)
        if found.recipe:
            self._check_same(found.recipe, f"holds {found.rows:,} samples{' (finished)' if found.complete else ''} of")
        return found.complete

    def _check_same(self, recipe: Mapping[str, Any], what: str) -> None:
        self._plan = matching_plan(self.path, recipe, what, self._plan, self._config)

    def _resume(self) -> None:
        manifest = self.parts / "recording.json"
        for left in self.parts.glob("*.tmp"):
            left.unlink()
        if manifest.exists():
            self._check_same(read_manifest(manifest), "was begun with")
        else:
            self._disk.write(manifest, json.dumps(self._config.recipe(self._plan), indent=1).encode())
        self.pieces, self._garbage = find_pieces(self.path, self.layout, self._plan, self._config)
        if self._shard_rows and self.rows % self._shard_rows == 0:
            self._make_shard()  # killed just before it was made: what comes next belongs to another one
        self._show(complete=False)

    def _take_finished(self) -> None:
        with cast("Any", h5py.File(self.path, "r")) as file:
            rows, stop = len(file[EPOCH.name]), int(file.attrs["stop"])
            if gone := missing_parts(file[EPOCH.name]):
                raise OutputError(
                    f"{self.path}: finished, but its shard {gone[0]} is gone (its samples read as zeros): bring it "
                    "back, or write all anew (--force)"
                )
            self.pieces = [Piece(self.path, self._plan.fingerprint, 0, stop, rows, read_lost(file))]
        self._measure()

    def _measure(self) -> None:
        shards = shards_of(self.path) if self._shard_rows else []
        self.size = sum(path.stat().st_size for path in {self.path, *shards, *(piece.path for piece in self.pieces)})

    def _make_shard(self) -> None:
        """Make one shard of the pieces since the last; its name is taken before theirs go."""
        loose = [piece for piece in self.pieces if piece.path.parent == self.parts]
        shards = self.pieces[: len(self.pieces) - len(loose)]
        if not loose:
            return
        path = self.path.with_name(f"{self.path.stem}-{len(shards):05}{self.path.suffix}")
        if path.exists() and not read_own(path, self.layout, self._plan):
            raise OutputError(f"{path}: a shard is to be written there: move away what is there, then go on")
        shard = Piece(
            path,
            self._plan.fingerprint,
            loose[0].start,
            loose[-1].stop,
            sum(piece.rows for piece in loose),
            tuple(lost for piece in loose for lost in piece.lost),
        )
        if len(loose) > 1 or not self._link(loose[0].path, path):
            self._put_together(loose, path, shard.describe)
        self.pieces = [*shards, shard]
        self._garbage += [piece.path for piece in loose]

    def _finish(self) -> None:
        if self._shard_rows:
            self._show(complete=True)
        else:
            self._show(complete=False)  # what is committed can be read during the merge
            self._put_together(self.pieces, self.path, self._complete)
            self.pieces = [Piece(self.path, self._plan.fingerprint, 0, self.stop, self.rows, self.lost)]
        self.finished = True
        self._measure()
        deadline = time.monotonic() + _READERS_S
        while not (unread := self._shown.unread()) and time.monotonic() < deadline:
            if self._disk.leaving.wait(_LOOK_S):
                break
        if unread:
            clear(self.parts)
        self.left_over = not unread

    def _put_together(self, pieces: list[Piece], path: Path, finish: Callable[[h5py.File], None]) -> None:
        aside = self.parts / "whole.h5.tmp"
        self._disk.make_room(sum(piece.path.stat().st_size for piece in pieces), path)
        combine(pieces, aside, self.layout, self._config.compression, self._disk, finish, self._progress)
        held = self._shown.hold() if path == self.path else None
        self._disk.rename(aside, path)
        self._shown.replaced(held)

    def _link(self, source: Path, target: Path) -> bool:
        """Give a piece a second name, without a copy; return whether the file system can."""
        try:
            target.unlink(missing_ok=True)
            target.hardlink_to(source)
        except OSError:
            return False
        self._disk.sync_folder(target.parent)
        return True

    def _sweep(self) -> None:
        """Remove pieces that nothing refers to any more, although another program may still be reading them."""
        if self._shown.unread():
            while self._garbage:
                self._garbage.pop().unlink(missing_ok=True)

    def _complete(self, file: h5py.File) -> None:
        self.names.copy_to(file)
        write_lost(file, self.lost)
        describe(file, self._plan, self._config, self.stop, complete=True)

    def _show(self, *, complete: bool) -> None:
        held = self._shown.hold()
        write_view(self.path, self.pieces, self._plan, self._config, self.names, self._disk, complete=complete)
        self._shown.replaced(held)
        self._measure()

    def _piece(self) -> Path:
        return self.parts / f"piece-{self.stop:012}.h5"
