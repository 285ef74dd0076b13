"""Writes spec.md, settings.md and metrics.md from the code: `python docs/generate.py`."""

import functools
import re
import typing
from pathlib import Path

from meanings import field_meanings
from pydantic import BaseModel
from value_words import bounded, default_words, type_words

from penstock.bench.results import BenchSettings
from penstock.commands.autoscale import AutoscaleSettings
from penstock.commands.check import CheckSettings
from penstock.commands.convert import ConvertSettings
from penstock.commands.doctor import DoctorSettings
from penstock.commands.engines.slurm import SlurmSettings
from penstock.commands.engines.slurm_workers import SlurmWorkersSettings
from penstock.commands.init import SpecSettings
from penstock.commands.inspect import InspectSettings
from penstock.commands.keys import AddSettings, ExportSettings, FolderSettings, InitSettings, NameSettings
from penstock.commands.planning.command import PlanSettings
from penstock.commands.preview import PreviewSettings
from penstock.commands.quarantine import QuarantineSettings
from penstock.commands.status import StatusSettings
from penstock.commands.up import UpSettings
from penstock.commands.view import ViewSettings
from penstock.commands.write import WriteSettings
from penstock.demo.command import DemoSettings
from penstock.protocol.runtime.metrics import COMMON, Definition
from penstock.protocol.spec import (
    augment,
    custom,
    manipulation,
    normalize,
    operation_table,
    source,
    spec,
    transform,
)
from penstock.protocol.spec.choice import comparison, sampling
from penstock.protocol.spec.sequences import recipe, view
from penstock.protocol.spec.targets import kinds
from penstock.protocol.transport.rejects import REASONS
from penstock.sink import metrics as sink_metrics
from penstock.sink.settings import SinkSettings
from penstock.sources.choice import mixture
from penstock.trace.command import TraceSettings
from penstock.trainer.feed import metrics as feed_metrics
from penstock.ventilator.monitoring import metrics as ventilator_metrics
from penstock.ventilator.settings import VentilatorSettings
from penstock.worker import metrics as worker_metrics
from penstock.worker.service import WorkerSettings

_HERE = Path(__file__).parent
_SPEC: dict[str, type[BaseModel]] = {
    "The file": spec.Spec,
    "`[streams.NAME]`": spec.Stream,
    **{f'`[streams.NAME.source]`, kind = "{kind}"': source.load_kind(kind).model for kind in source.KINDS},
    **{f'`[streams.NAME.targets.FIELD]`, kind = "{kind}"': model for kind, model in kinds.KINDS.items()},
    "`[streams.NAME.source.parts.PART]`": mixture.Part,
    "`[[streams.NAME.source.schedule]]`": mixture.Weights,
    "`[[streams.NAME.source.where]]`": comparison.Comparison,
    "`[streams.NAME.sampling]`": sampling.Sampling,
    "`[streams.NAME.transform]`": transform.Transform,
    "`[streams.NAME.transform.resize]`": transform.Resize,
    "`[streams.NAME.transform.patch]`": transform.Patch,
    "`[streams.NAME.transform.manipulations]`": manipulation.Manipulations,
    **{
        f'`[[streams.NAME.transform.manipulations.choices]]`, kind = "{kind}"': model
        for kind, model in operation_table.manipulation_models().items()
    },
    "`[streams.NAME.transform.augment]`": augment.Augment,
    "`[streams.NAME.transform.recipe]`": recipe.Recipe,
    "`[streams.NAME.transform.views.NAME]`": view.View,
    **{
        f'`[[streams.NAME.transform.steps]]`, op = "{op}"': model for op, model in operation_table.step_models().items()
    },
    "`[streams.NAME.transform.normalize]`": normalize.Normalize,
    "`[[streams.NAME.transform.custom]]`": custom.Custom,
    "`[streams.NAME.transform.custom.produces.FIELD]`": custom.Produced,
}
_SETTINGS: dict[str, type[BaseModel]] = {
    "penstock ventilator": VentilatorSettings,
    "penstock sink": SinkSettings,
    "penstock worker": WorkerSettings,
    "penstock up": UpSettings,
    "penstock write": WriteSettings,
    "penstock convert": ConvertSettings,
    "penstock init": SpecSettings,
    "penstock check": CheckSettings,
    "penstock preview": PreviewSettings,
    "penstock view": ViewSettings,
    "penstock inspect": InspectSettings,
    "penstock status": StatusSettings,
    "penstock autoscale": AutoscaleSettings,
    "penstock slurm": SlurmSettings,
    "penstock slurm-workers": SlurmWorkersSettings,
    "penstock quarantine": QuarantineSettings,
    "penstock doctor": DoctorSettings,
    "penstock bench": BenchSettings,
    "penstock plan": PlanSettings,
    "penstock trace": TraceSettings,
    "penstock demo": DemoSettings,
    "penstock keys init": InitSettings,
    "penstock keys add": AddSettings,
    "penstock keys revoke": NameSettings,
    "penstock keys list": FolderSettings,
    "penstock keys export": ExportSettings,
}


#: Headings of the spec's tables, by the last part of their place; others are the part itself.
_HEADINGS = {
    "NAME": "Stream",
    "choices": "Manipulation",
    "steps": "Step",
    "custom": "Custom transform",
    "where": "Comparison of a column",
    "PART": "Part of a mixture",
    "schedule": "Weights of a mixture from an epoch on",
    "FIELD": "Field of a custom transform",
    "targets": "Target",
}


def _table(model: type[BaseModel], name: typing.Callable[[str], str]) -> list[str]:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field, info in model.model_fields.items():
        default = default_words(info.get_default(call_default_factory=True))
        words = bounded(type_words(info.annotation), info.metadata)
        meaning = " ".join(field_meanings(model).get(field, "").split()).replace("|", "\\|")
        lines.append(f"| `{name(field)}` | {words} | {default} | {meaning} |")
    return lines


def _heading(place: str) -> str:
    """Return a short heading for a place in the spec, as in `[streams.NAME.source]`, kind = "directory"."""
    inside, _, kind = place.partition(", ")
    if ".views." in inside:
        return "View"
    last = "targets" if "targets" in inside else re.split(r"[.\[\]`]+", inside.strip("`[]"))[-1]
    heading = _HEADINGS.get(last, last[:1].upper() + last[1:])
    return heading + (f": {kind.split(chr(34))[1]}" if kind else "")


def spec_page() -> str:
    """Return the reference of the spec."""
    lines = ["# Spec reference", "", "Every field of a spec, generated from the code by `python docs/generate.py`.", ""]
    for place, model in _SPEC.items():
        where = f"{place.replace(', ', ' with `')}`: " if ", " in place else f"{place}: " if "`" in place else ""
        about = where + " ".join((model.__doc__ or "").split())
        lines += [f"## {_heading(place)}", "", about, "", *_table(model, str), ""]
    return "\n".join(lines)


def _flag(model: type[BaseModel], field: str) -> str:
    info = model.model_fields[field]
    if any(getattr(rule, "__name__", "") == "_CliPositionalArg" for rule in info.metadata):
        return field.upper()
    return f"--{(info.alias or field).replace('_', '-')}"


def _as_flags(row: str) -> str:
    """Return a table's row with types and defaults as a shell has them, instead of TOML."""
    field, words, default, meaning = row.split(" | ", 3)
    words = words.replace("table", "`NAME=PATH`, repeatable").replace("list of text", "text, repeatable")
    return " | ".join([field, words.replace('"', ""), default.replace('"', ""), meaning])


def settings_page() -> str:
    """Return the reference of the settings of services and commands."""
    lines = [
        "# Settings",
        "",
        "The options of every command, generated from the code by `python docs/generate.py`.",
        "",
    ]
    lines += [
        "Each option can be given as a flag (`--log-level`), as an environment variable (`PENSTOCK_LOG_LEVEL`) or in a",
        "TOML file (`log_level`) that `--config` or `PENSTOCK_CONFIG` names. A flag overrides the environment, which",
        "overrides the file.",
        "",
    ]
    for title, model in _SETTINGS.items():
        head, rule, *rows = _table(model, functools.partial(_flag, model))
        lines += [f"## `{title}`", "", " ".join((model.__doc__ or "").split()), "", head, rule]
        lines += [*map(_as_flags, rows), ""]
    return "\n".join(lines)


_METRICS: dict[str, typing.Iterable[Definition]] = {
    "Every service": COMMON,
    "Ventilator": ventilator_metrics.METRICS,
    "Sink": sink_metrics.METRICS,
    "Worker": worker_metrics.METRICS,
    "Trainer": feed_metrics.METRICS,
}
_ABOUT_METRICS = """# Metrics

All Prometheus metrics, generated from the code by `python docs/generate.py`.

Every service answers `GET /metrics` at the same address as `/healthz` (set by `--health`; by default a free port on
loopback, which the log names). The format is Prometheus's text format, or OpenMetrics if the Accept header asks for it.
Values are at most one heartbeat (`heartbeat_s`, 1 second) old. Counters are updated once per task or batch, not per
sample. Each process also exports the standard `process_*` metrics: CPU time, memory, file descriptors.

`GET /status` of the ventilator returns the state of the whole stack as JSON; `penstock.Snapshot`
documents its fields. It contains host and file names, so it is served only on loopback and Unix sockets. In Python,
`stack.snapshot()` and `stack.metrics()` of `penstock.local` return both. The labels of `penstock_verdict` are
explained in [The verdict](verdict.md).

A training program exports its own metrics with one line:

```python
from penstock import FeedCollector, serve_metrics

serve_metrics("127.0.0.1:9400", feed)  # an endpoint of its own, or
prometheus_client.REGISTRY.register(FeedCollector(feed))  # with the program's other metrics
```

`deploy/monitoring/` contains a Prometheus configuration and a Grafana dashboard. With containers, enable the profile
`monitoring` and let the services answer Prometheus on the Compose network:

    HEALTH=0.0.0.0:8080 docker compose --profile train --profile monitoring up     # http://127.0.0.1:3000
"""


def metrics_page() -> str:
    """Return the reference of the metrics."""
    lines = [_ABOUT_METRICS]
    shared = {definition.name for definition in COMMON}
    for title, definitions in _METRICS.items():
        lines += [f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for each in definitions:
            if definitions is COMMON or each.name not in shared:
                labels = ", ".join(f"`{label}`" for label in each.labels)
                lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.text} |")
        lines.append("")
    lines += ["## Reasons of rejected messages", "", "| reason | meaning |", "|---|---|"]
    lines += [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]
    return "\n".join([*lines, ""])


PAGES = {"spec.md": spec_page, "settings.md": settings_page, "metrics.md": metrics_page}


def main() -> None:
    """Write the pages into this folder."""
    for name, page in PAGES.items():
        (_HERE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
