"""Decides whether an existing output belongs to a stream, and reads the pieces and shards that a run continues from.

`output.py` acts on the answer: it writes, links and removes files. This module only reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.protocol.errors import OutputError
from penstock.protocol.fingerprint import version_of
from penstock.protocol.plan import StreamPlan
from penstock.sink.output.layout import Layout, OutputConfig
from penstock.sink.output.part_file import Piece, read_piece
from penstock.sink.output.paths import parts_of, shards_of


def matching_plan(
    path: Path, recipe: Mapping[str, Any], what: str, plan: StreamPlan, config: OutputConfig
) -> StreamPlan:
    """Return the plan with the fingerprint that the output was begun with.

    `what` begins the error's clause about the output. Raises OutputError if the output is of another stream, or was
    begun with other options.
    """
    if plan.is_of(found := str(recipe.get("fingerprint", ""))):
        # An output that was begun with a fingerprint of version 1 keeps it, so that all its pieces have the same.
        plan = plan.model_copy(update={"fingerprint": found})
    wanted = config.recipe(plan)
    if version_of(found) == 1 and plan.fingerprint_1:
        wanted["fingerprint"] = plan.fingerprint_1
    hint = "give another name, or remove it (`penstock write --force` does)"
    if any(recipe.get(key) != wanted[key] for key in ("stream", "fingerprint")):
        raise OutputError(
            f"{path}: {what} stream {recipe.get('stream')!r} with fingerprint {recipe.get('fingerprint')}, "
            f"and this is stream {wanted['stream']!r} with {wanted['fingerprint']}: the spec, or the files listed, "
            f"are others; {hint}"
        )
    for key, value in wanted.items():
        if recipe.get(key) != value:
            raise OutputError(
                f"{path}: {what} this stream with {key} = {recipe.get(key)!r}, and {value!r} is asked for: "
                f"ask for the same; or {hint}"
            )
    return plan


def find_pieces(path: Path, layout: Layout, plan: StreamPlan, config: OutputConfig) -> tuple[list[Piece], list[Path]]:
    """Return an output's pieces and shards without gaps from position 0, and the pieces in its parts that are not used.

    Raises OutputError for a shard of another size.
    """
    loose = sorted(parts_of(path).glob("piece-*.h5"))
    found = [piece for part in loose if (piece := read_own(part, layout, plan))]
    found += _find_shards(path, layout, plan, config)
    chain: list[Piece] = []
    stop = 0
    for piece in sorted(found, key=lambda piece: (piece.start, -piece.stop)):
        if piece.start == stop < piece.stop:
            chain.append(piece)
            stop = piece.stop
    kept = {piece.path for piece in chain}
    return chain, [part for part in loose if part not in kept]


def read_own(path: Path, layout: Layout, plan: StreamPlan) -> Piece | None:
    """Return a finished piece of this stream. Return None if the file is something else, or torn by a power cut."""
    try:
        piece = read_piece(path, layout)
    except OutputError:
        return None
    return piece if piece.fingerprint == plan.fingerprint else None


def _find_shards(path: Path, layout: Layout, plan: StreamPlan, config: OutputConfig) -> list[Piece]:
    """Return this stream's shards. Raises OutputError for one of another size, or of more epochs: it stays."""
    shard_rows = config.shard_rows(layout)
    if not shard_rows:
        return []
    shards = [piece for shard in shards_of(path) if (piece := read_own(shard, layout, plan))]
    total = config.epochs * plan.geometry.samples_per_epoch
    for shard in shards:
        if shard.stop > total or (shard.stop < total and shard.rows != shard_rows):
            raise OutputError(
                f"{shard.path}: holds {shard.rows:,} samples, positions {shard.start:,} to {shard.stop:,}, of an "
                f"output with other shards or epochs: {shard_rows:,} a shard of {total:,} are asked for: ask "
                "for the same, or move it away"
            )
    return shards
