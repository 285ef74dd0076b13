"""Settings that every service shares: declared once, read from flags, `PENSTOCK_*` variables or a TOML file."""

import os
import tomllib
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from penstock.protocol.errors import SpecError
from penstock.protocol.runtime import flags, help_texts
from penstock.protocol.runtime.log import Level

AnySettings = TypeVar("AnySettings", bound="Settings")

#: Content of the TOML file of the command line that is being parsed; a settings class cannot be given arguments.
_file: ContextVar[dict[str, Any] | None] = ContextVar("settings file", default=None)
#: Parsers that were made ahead, by settings and command, each for one use.
_made: "dict[tuple[type[Settings], str], tuple[Any, CliSettingsSource[Any]]]" = {}


class Settings(BaseSettings):
    """Base of every command's settings. Flags override the environment, which overrides the file."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        use_attribute_docstrings=help_texts.wanted,
        extra="forbid",
    )

    config: str | None = None
    """TOML file with these settings; flags and `PENSTOCK_*` variables override it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and, below it, the TOML file; no dotenv and no secret files."""
        del dotenv_settings, file_secret_settings
        content = _file.get()
        return (init_settings, env_settings, *((InitSettingsSource(settings_cls, content),) if content else ()))


class ServiceSettings(Settings):
    """Options of every long-running service."""

    log_level: Level = "info"
    """Lowest severity of the log lines that are shown."""
    log_style: Literal["auto", "console", "plain", "json"] = "auto"
    """Format of log lines; `auto`: `console` on a terminal, `json` elsewhere. `plain`: no colours, no service name."""
    health: str = "127.0.0.1:0"
    """Address that serves /healthz: host:port or a Unix socket's /path; port 0: any free port; empty: not served."""
    keys: str = ""
    """Key folder made by `penstock keys`; it encrypts all sockets and admits only peers with a known key."""
    insecure: bool = False
    """Allow other hosts to connect without keys; use it only on a network where every host is trusted."""
    parent: int | None = Field(default=None, ge=1)
    """ID of the parent process; the service stops when that process has ended (set by `penstock up`)."""
    restarts: int = Field(default=0, ge=0)
    """Number of restarts of this service so far, shown in its metrics (set by `penstock up`)."""
    trace: str = ""
    """Directory for task traces, to be read by `penstock trace`; empty: no traces."""
    trace_every: int = Field(default=1, ge=1)
    """Trace one task in this many."""


class NodeSettings(ServiceSettings):
    """Options of services that make or take samples: those of one machine belong together."""

    node: str = Field(default="", max_length=255)
    """Name of the machine, equal for all workers and sinks on it; default: the host's name. Workers are preferred for
    what a sink of the same name needs. In containers, which have host names of their own, give them the machine's."""


def prepare(model: type[AnySettings], command: str) -> None:
    """Make the parser of `penstock <command>` now: processes that are forked from this one need not."""
    _made[model, command] = _parser(model, command)


def _parser(model: type[AnySettings], command: str) -> "tuple[Any, CliSettingsSource[Any]]":
    """Return a subclass of `model`, made for its name in --help, and its parser."""
    named: Any = type(
        model.__name__, (model,), {"model_config": {"cli_prog_name": f"penstock {command}"}, "__doc__": model.__doc__}
    )
    return named, flags.source_for(named)


def parse(model: type[AnySettings], arguments: Sequence[str], command: str) -> AnySettings:
    """Return the settings of `penstock <command>`. Raises SpecError that names the flag, the value and what is allowed.

    `--help` and unknown flags print and leave, as argparse does.
    """
    path = os.environ.get("PENSTOCK_CONFIG")
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            path = arguments[index + 1]
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
    if path and not os.path.isfile(path):  # noqa: PTH113 - the source takes a string
        raise SpecError(f"--config {path!r}: no such file; give a TOML file with settings of `penstock {command}`")
    token = _file.set(_read(path, command) if path else None)
    key = (model, command)
    named, source = _made.pop(key) if key in _made else _parser(model, command)
    try:
        values = flags.values(named, source.root_parser, arguments, command)
        settings: AnySettings = CliApp.run(named, cli_args=values, cli_settings_source=source)
    except ValidationError as error:
        raise SpecError("\n".join(_explain(model, command, path, problem) for problem in error.errors())) from None
    except SettingsError as error:
        raise SpecError(
            f'penstock {command}: {error}; a mapping in a PENSTOCK_* variable is JSON, such as {{"name": "/path"}}'
        ) from error
    else:
        return settings
    finally:
        _file.reset(token)


def _read(path: str, command: str) -> dict[str, Any]:
    """Return a TOML file's content; a byte-order mark, which some editors write, is skipped."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"penstock {command}: --config {path!r}: not valid TOML: {error}") from error


def _explain(model: type[Settings], command: str, path: str | None, problem: Any) -> str:  # noqa: ANN401 - pydantic's
    flag = "--" + ".".join(map(str, problem["loc"])).replace("_", "-")
    if problem["type"] == "extra_forbidden":  # an unknown flag ends in argparse: this one stands in the file
        allowed = ", ".join(sorted(name for name in model.model_fields if name != "config"))
        what = f"{problem['loc'][0]} = {problem['input']!r}: unknown setting"
        return f"penstock {command}: {path}: {what}; allowed: {allowed}"
    given = "" if problem["type"] == "missing" else f" {problem['input']!r}"
    return f"penstock {command}: {flag}{given}: {problem['msg'].removeprefix('Value error, ')}"
