"""Finds out which parts of a Parquet file below a URL are needed, and brings those only: its footer, some columns."""

# ruff: noqa: ANN401 - pyarrow has no types

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage.url_answers import RemoteIdentity
from penstock.protocol.storage.urls import Remote
from penstock.sources.containers.columns import import_pyarrow
from penstock.sources.url_files.partial_copy import PartialCopy

#: Bytes at a file's end in which the footer is looked for at first: that of a few hundred row groups.
_FIRST_BYTES = 65_536
#: How a file ends: the footer's size in 4 bytes, and this mark; and the largest footer that is read.
_MAGIC, _END_BYTES, _MOST_FOOTER = b"PAR1", 8, 256_000_000
#: Bytes between two parts that are brought along: they cost less than a request more.
_GAP_BYTES = 131_072
#: Most bytes of a file's columns that are brought to list it: they lie in memory.
_MOST_COLUMNS = 1_000_000_000

_Span = tuple[int, int]


@contextmanager
def with_footer(remote: Remote, path: str, identity: RemoteIdentity) -> Generator[PartialCopy]:
    """Yield a copy of a Parquet file of which only the footer was brought. Raises ItemError and OSError."""
    with PartialCopy(remote, path, identity) as copy:
        first = max(0, identity.size - _FIRST_BYTES)
        copy.bring([(first, identity.size - first)])
        copy.opened.seek(max(0, identity.size - _END_BYTES))
        end = copy.opened.read(_END_BYTES)
        if not end.endswith(_MAGIC) or len(end) < _END_BYTES:
            raise ItemError("not a whole Parquet file: the mark of its end is missing; copy or write it anew")
        size = int.from_bytes(end[:4], "little") + _END_BYTES
        if size > min(identity.size, _MOST_FOOTER):
            raise ItemError(f"not a whole Parquet file: its footer cannot have {size} bytes; copy or write it anew")
        if size > identity.size - first:
            copy.bring([(identity.size - size, first - identity.size + size)])
        copy.opened.seek(0)
        yield copy


def spans_of(metadata: Any, columns: Sequence[str], groups: Iterable[int], size: int) -> list[_Span]:
    """Return where the chunks of these columns (names, or paths in nested ones) lie in some row groups of a file.

    Near ones are one part. Raises ItemError if the footer says that they lie outside of the file.
    """
    found = sorted(_spans_of(metadata, columns, groups))
    if any(begin < 0 or length < 0 or begin + length > size for begin, length in found):
        raise ItemError("not a whole Parquet file: its footer names bytes outside of it; copy or write it anew")
    joined = list[_Span]()
    for begin, length in found:
        if joined and begin - sum(joined[-1]) <= _GAP_BYTES:
            last = joined.pop()
            joined.append((last[0], max(sum(last), begin + length) - last[0]))
        else:
            joined.append((begin, length))
    return joined


def _spans_of(metadata: Any, columns: Sequence[str], groups: Iterable[int]) -> Iterator[_Span]:
    for group in map(metadata.row_group, groups):
        for chunk in map(group.column, range(group.num_columns)):
            if not {chunk.path_in_schema, chunk.path_in_schema.split(".")[0]}.isdisjoint(columns):
                begin = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < begin:
                    begin = chunk.dictionary_page_offset
                yield begin, chunk.total_compressed_size


@contextmanager
def with_columns(remote: Remote, path: str, identity: RemoteIdentity, columns: Sequence[str]) -> Generator[PartialCopy]:
    """Yield a copy of a Parquet file with its footer and some columns. Raises SourceError, and what pyarrow raises."""
    name = f"{remote.name}/{path}"
    pa = import_pyarrow(name)
    try:
        with with_footer(remote, path, identity) as copy:
            metadata = pa.parquet.read_metadata(copy.opened)
            spans = spans_of(metadata, columns, range(metadata.num_row_groups), identity.size)
            _check_size(spans, columns)
            copy.bring(spans)
            copy.opened.seek(0)
            yield copy
    except ItemError as error:
        raise SourceError(f"{name}: {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: not a whole Parquet file: {error}; copy or write it anew") from error


def _check_size(spans: Iterable[_Span], columns: Sequence[str]) -> None:
    if (size := sum(length for _, length in spans)) > _MOST_COLUMNS:
        raise ItemError(
            f"its columns {', '.join(columns)} take {size / 1e6:,.0f} MB, and at most {_MOST_COLUMNS / 1e6:,.0f} are "
            "brought to list a file: write more files, with fewer rows each"
        )
