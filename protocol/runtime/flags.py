"""Reads command lines into settings: NAME=FOLDER to the letter, and a help text with words in place of Python's types.

pydantic-settings makes the parser. It would also split values of users: a mapping at commas, quotes and braces; and it
reads the text `None` as no value. So lists and mappings are turned into JSON here before it sees them.
"""

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_settings import BaseSettings, CliSettingsSource

from penstock.protocol.errors import SpecError

#: No argument of a process can be this text: every other one is a value.
_NO_VALUE = "\0"
#: Names of values in `--help`; for other flags they follow from the type.
_WORDS = {
    "config": "FILE",
    "keys": "FOLDER",
    "run_dir": "FOLDER",
    "trace": "FOLDER",
    "cache": "FOLDER",
    "keep": "FOLDER",
    "data": "FOLDER",
    "output": "FILE",
    "quarantine": "FILE",
    "dashboard_token_file": "FILE",
    "bind": "ADDRESS",
    "results": "ADDRESS",
    "trainers": "ADDRESS",
    "ventilator": "ADDRESS",
    "health": "ADDRESS",
    "dashboard": "ADDRESS",
    "dashboard_hosts": "NAME",
    "stream": "NAME",
}
_TYPES = {"int": "N", "float": "NUMBER", "str": "TEXT", "dict[str,str]": "NAME=FOLDER", "list[str]": "TEXT"}
#: Defaults that `--help` leaves out: none, off, an empty text, and the constructors of empty collections.
_NO_DEFAULT = re.compile(r" ?\(default(?:: (?:\0|False|)| factory: \w+)\)")


def source_for(model: type[BaseSettings]) -> CliSettingsSource[Any]:
    """Return the parser of a command's settings, to be read by `values`."""
    return CliSettingsSource(
        model, cli_parse_none_str=_NO_VALUE, root_parser=None, add_argument_method=_add_argument, case_sensitive=True
    )


def values(model: type[BaseSettings], parser: ArgumentParser, arguments: Sequence[str], command: str) -> Namespace:
    """Parse arguments; lists and mappings become JSON. Raises SpecError for a mapping's entry without `=`.

    `--help` and unknown flags print and leave, as argparse does.
    """
    parsed = parser.parse_args(list(arguments))
    for name, given in vars(parsed).items():
        if not isinstance(given, list):
            continue
        field = model.model_fields.get(name)
        if field is not None and str(field.annotation).startswith("dict"):
            setattr(parsed, name, json.dumps(_pairs(f"penstock {command}: --{name.replace('_', '-')}", given)))
        else:
            setattr(parsed, name, json.dumps([part for each in given for part in each.split(",")]))
    return parsed


def _pairs(flag: str, given: Sequence[str]) -> Mapping[str, str]:
    """Return NAME=VALUE as a mapping: everything after the first `=` is the value."""
    found: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise SpecError(f"{flag} {each!r}: give NAME=FOLDER, such as photos=/data/photos")
        if found.setdefault(name, value) != value:
            raise SpecError(f"{flag} {each!r}: {name!r} was given before, as {found[name]!r}; give each name once")
    return found


def _add_argument(parser: Any, *flags: str, **options: Any) -> Any:  # noqa: ANN401 - argparse's
    """Add an option with its help text."""
    name = next((flag.lstrip("-").replace("-", "_") for flag in flags if flag.startswith("--")), "")
    if name and options.get("metavar"):
        kind = str(options["metavar"])
        word = _WORDS.get(name, "SECONDS" if name.endswith("_s") and kind == "float" else _TYPES.get(kind, kind))
        options["metavar"] = word
    if options.get("help"):
        options["help"] = _NO_DEFAULT.sub("", options["help"])
    return ArgumentParser.add_argument(parser, *flags, **options)
