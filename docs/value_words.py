"""Writes types, bounds and defaults of models' fields in words, for the generated pages."""

import builtins
import json
import re
import types
import typing

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

_PLAIN: dict[object, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def type_words(annotation: object) -> str:
    """Return what a value of a type is, for people: `str | None` is "text, optional"."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    parts = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            return bounded(type_words(parts[0]), parts[1:])
        case typing.Literal:
            return _either([f"`{_toml(part)}`" for part in parts])
        case typing.Union | types.UnionType:
            words = [type_words(part) for part in parts if part is not type(None)]
            tables = all(word == "table" for word in words)
            return ("table" if tables else _either(words)) + (", optional" if type(None) in parts else "")
        case builtins.tuple | builtins.list if Ellipsis in parts or len(parts) == 1:
            return f"list of {_plural(type_words(parts[0]))}"
        case builtins.tuple:
            return f"list of {len(parts)} {_plural(type_words(parts[0]))}"
        case _:
            return "table"


def _either(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" or " if words[:-1] else "") + words[-1]


def _plural(words: str) -> str:
    return re.sub(r"^(whole number|number|table)\b", r"\1s", words)


def _number(value: float) -> str:
    if value == 2**63:
        return "2^63"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value}"


def bounded(words: str, rules: typing.Iterable[object]) -> str:
    """Return a type's words with its bounds; that text or a list must not be empty goes without saying."""
    limits = {"ge": "", "gt": "", "le": "", "lt": "", "max_length": ""}
    for rule in [part for each in rules for part in (*getattr(each, "metadata", ()), each)]:
        limits |= {key: _number(value) for key in limits if (value := getattr(rule, key, None)) is not None}
    if limits["ge"] and limits["le"]:
        said = [f"{limits['ge']} to {limits['le']}"]
    else:
        about = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        said = [f"{about[key]} {limits[key]}" for key in about if limits[key]]
    if limits["max_length"] and words.startswith("list"):
        said.append(f"at most {limits['max_length']} of them")
    kind, comma, rest = words.partition(", optional")
    return ", ".join([kind, *said]) + comma + rest


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def default_words(value: object) -> str:
    """Return a default for people: a value of TOML, or "none"."""
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, BaseModel) or value is None or value in ("", {}, (), []):
        return "none"
    return f"`{int(value) if isinstance(value, float) and value.is_integer() else _toml(value)}`"
