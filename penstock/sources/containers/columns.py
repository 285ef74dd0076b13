"""Columns of tables: that they are there, what their labels are, and where a data set of Hugging Face keeps its names.

pyarrow is an extra and slow to import, so that it is imported where a table is opened.
"""

# ruff: noqa: ANN401 - pyarrow has no types

import importlib
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.labels import class_name, some
from penstock.sources.choice.table_rows import RowChoice, TableFields

#: The field of a hub's image that holds the bytes of its file; `path` stands next to it.
_BYTES = "bytes"
#: Most bytes of text in the lists of one batch.
MOST_LIST_BYTES = 256_000_000


def check_column(name: str, header: Sequence[str], wanted: str, setting: str) -> None:
    """Raise SourceError unless a table has one column of this name, which the spec gives as `source.<setting>`."""
    if header.count(wanted) != 1:
        count = "has no" if wanted not in header else "has more than one"
        raise SourceError(f"{name}: {count} column {wanted!r} (source.{setting}); its columns: {some(header)}")


def import_pyarrow(name: str, instead: str = "") -> Any:
    """Return pyarrow. Raises SourceError, which names the file, if it is missing; `instead` says what else helps."""
    try:
        pa = importlib.import_module("pyarrow")  # an extra, and slow to import
        for part in ("compute", "parquet", "ipc"):
            importlib.import_module(f"pyarrow.{part}")
    except ImportError as error:
        raise SourceError(f"{name}: reading it needs pyarrow: pip install 'penstock[parquet]'{instead}") from error
    return pa


@contextmanager
def reported(name: str, kind: str) -> Generator[None]:
    """Raise what pyarrow raises as a SourceError that names the file."""
    pa = import_pyarrow(name)
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: not a whole {kind} file: {error}; copy or write it anew") from error


def column_values(column: Any, name: str) -> Sequence[Any]:
    """Return the values of a column: of a dictionary, equal ones as one object; a float32 as numpy's (few decimals).

    Raises SourceError, which begins with `name`, if lists of text take too much memory, and pyarrow's error if the
    column is damaged.
    """
    pa = import_pyarrow(name)
    column.validate(full=True)
    if pa.types.is_dictionary(column.type):
        known = [*column_values(column.dictionary, name), None]
        places = column.indices.cast(pa.int64()).fill_null(len(known) - 1)
        return [known[place] for place in places.to_numpy(zero_copy_only=False).tolist()]
    _check_lists(pa, column, name)
    if not pa.types.is_float32(column.type):
        values: Sequence[Any] = column.to_pylist()
        return values
    if column.null_count:  # the others are what they are in a batch without nulls, so that they name the same class
        return [None if value is None else np.float32(value) for value in column.to_pylist()]
    numbers: Sequence[Any] = column.to_numpy(zero_copy_only=False)
    return numbers


def check_listed(schema: Any, columns: Iterable[str], name: str) -> None:
    """Raise SourceError if a column's type lets rows share their bytes: listing them would multiply these."""
    pa = import_pyarrow(name)
    for column in columns:
        kind = plain = schema.field(column).type
        while _is_list(pa, plain) or pa.types.is_dictionary(plain):
            plain = plain.value_type
        if pa.types.is_nested(plain) or pa.types.is_run_end_encoded(plain) or str(plain).endswith("_view"):
            raise SourceError(
                f"{name}: column {column!r} is {kind}: a column of text or numbers, or lists of them, is read"
            )


def _is_list(pa: Any, kind: Any) -> bool:
    return any(check(kind) for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _check_lists(pa: Any, column: Any, name: str) -> None:
    """Raise SourceError if a column of lists of dictionaries unpacks to too much: the text is there once only."""
    if not _is_list(pa, column.type):
        return
    while _is_list(pa, column.type):
        column = column.flatten()
    if pa.types.is_dictionary(column.type) and (pa.types.is_string(column.type.value_type)):
        lengths = pa.compute.binary_length(column.dictionary).cast(pa.int64())
        size = pa.compute.sum(lengths.take(column.indices)).as_py() or 0
        if size > MOST_LIST_BYTES:
            raise SourceError(
                f"{name}: lists of text in {column.type} unpack to {size / 1e6:,.0f} MB a batch; at most "
                f"{MOST_LIST_BYTES / 1e6:.0f}: write shorter lists"
            )


def class_names(labels: Any, names: Sequence[str], name: str, column: str, rows: Iterable[int]) -> Iterator[str]:
    """Yield the class of each row, whose numbers are `rows`; `names` are those of a ClassLabel, if it is one."""
    found: dict[str, str] = {}
    for row, value in zip(rows, column_values(labels, name), strict=False):
        where = f"{name}, row {row}: {column}"
        if not names:
            label = class_name(value, where)
            yield found.setdefault(label, label)
        elif isinstance(value, int) and 0 <= value < len(names):
            yield names[value]
        else:
            raise SourceError(
                f"{where} = {value!r}: its ClassLabel has {len(names)} names, so that a label is a number from 0 to "
                f"{len(names) - 1}; label = '' reads no labels"
            )


def given_names(schema: Any, column: str) -> list[str]:
    """Return the names of a ClassLabel, from the schema's metadata as `datasets` writes it; none if there are none."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = facts["info"]["features"][column]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [str(each) for each in names] if isinstance(names, list) else []


def check_choice(header: Sequence[str], fields: TableFields, name: str) -> None:
    """Raise SourceError unless a table has the columns that `where` and `weight_column` name."""
    for comparison in fields.where:
        check_column(name, header, comparison.column, "where")
    if fields.weight_column:
        check_column(name, header, fields.weight_column, "weight_column")


def choose_rows(batch: Any, choice: RowChoice, columns: Sequence[str], name: str, first: int) -> Int64s | None:
    """Return which rows of a record batch, whose first is row `first` of the file, are items; None: all are."""
    if not choice:
        return None
    schema = batch.schema
    values = [column_values(batch.column(schema.get_field_index(column)), name) for column in columns]
    return np.array(choice.rows(values, name, first), np.int64)


def check_table(schema: Any, image: str, label: str, name: str) -> None:
    """Raise SourceError unless a table has its columns, and the images are bytes or the hub's struct of them."""
    pa = import_pyarrow(name)
    for wanted, setting in ((image, "image"), (label, "label")):
        if wanted:
            check_column(name, schema.names, wanted, setting)
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index(_BYTES) >= 0:
        kind = kind.field(_BYTES).type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise SourceError(
            f"{name}: column {image!r} (source.image) is {schema.field(image).type}: images are the bytes of image "
            "files, as binary or as the hub's struct with a field 'bytes'"
        )


def bytes_column(schema: Any, image: str) -> str:
    """Return the path of the column that holds the bytes of images."""
    pa = import_pyarrow("images")
    return f"{image}.{_BYTES}" if pa.types.is_struct(schema.field(image).type) else image


def image_bytes(column: Any) -> Any:
    """Return a column of images as one of binary values, which are null where there is no image."""
    pa = import_pyarrow("images")
    return pa.compute.struct_field(column, _BYTES) if pa.types.is_struct(column.type) else column
