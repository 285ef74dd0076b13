"""Writes spec.md, settings.md and metrics.md from the code, so that they cannot drift: `python docs/generate.py`."""

import functools
import re
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from penstock.bench.results import BenchSettings
from penstock.commands.check import CheckSettings
from penstock.commands.inspect import InspectSettings
from penstock.commands.keys import AddSettings, ExportSettings, FolderSettings, InitSettings, NameSettings
from penstock.commands.preview import PreviewSettings
from penstock.commands.quarantine import QuarantineSettings
from penstock.commands.status import StatusSettings
from penstock.commands.up import UpSettings
from penstock.commands.view import ViewSettings
from penstock.commands.write import WriteSettings
from penstock.demo.command import DemoSettings
from penstock.protocol.runtime.metrics import COMMON, Definition
from penstock.protocol.spec import augment, custom, manipulation, normalize, operation_table, source, spec, transform
from penstock.protocol.transport.rejects import REASONS
from penstock.sink import metrics as sink_metrics
from penstock.sink.service import SinkSettings
from penstock.trace.command import TraceSettings
from penstock.trainer.feed import metrics as feed_metrics
from penstock.ventilator.monitoring import metrics as ventilator_metrics
from penstock.ventilator.service import VentilatorSettings
from penstock.worker import metrics as worker_metrics
from penstock.worker.service import WorkerSettings

_HERE = Path(__file__).parent
_SPEC: dict[str, type[BaseModel]] = {
    "The file": spec.Spec,
    "`[streams.NAME]`": spec.Stream,
    '`[streams.NAME.source]`, kind = "directory"': source.DirectorySource,
    '`[streams.NAME.source]`, kind = "manifest"': source.ManifestSource,
    '`[streams.NAME.source]`, kind = "arrays"': source.ArraySource,
    '`[streams.NAME.source]`, kind = "hdf5"': source.Hdf5Source,
    "`[streams.NAME.transform]`": transform.Transform,
    "`[streams.NAME.transform.resize]`": transform.Resize,
    "`[streams.NAME.transform.patch]`": transform.Patch,
    "`[streams.NAME.transform.manipulations]`": manipulation.Manipulations,
    **{
        f'`[[streams.NAME.transform.manipulations.choices]]`, kind = "{kind}"': model
        for kind, model in operation_table.manipulation_models().items()
    },
    "`[streams.NAME.transform.augment]`": augment.Augment,
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
    "penstock check": CheckSettings,
    "penstock preview": PreviewSettings,
    "penstock view": ViewSettings,
    "penstock inspect": InspectSettings,
    "penstock status": StatusSettings,
    "penstock quarantine": QuarantineSettings,
    "penstock bench": BenchSettings,
    "penstock trace": TraceSettings,
    "penstock demo": DemoSettings,
    "penstock keys init": InitSettings,
    "penstock keys add": AddSettings,
    "penstock keys revoke": NameSettings,
    "penstock keys list": FolderSettings,
    "penstock keys export": ExportSettings,
}


def _type(annotation: object) -> str:
    if isinstance(annotation, type):
        return annotation.__name__
    if typing.get_origin(annotation) is typing.Annotated:
        return _type(typing.get_args(annotation)[0])
    text = re.sub(r"typing\.|penstock\.[a-z_.]+\.", "", str(annotation))
    return text.replace("|", "\\|") if len(text) < 60 else "see below"  # noqa: PLR2004 - a column's width


def _bound(rule: object) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "of length ≥"}
    return ", ".join(
        f"{sign} {getattr(rule, key)}" for key, sign in signs.items() if getattr(rule, key, None) is not None
    )


def _table(model: type[BaseModel], name: typing.Callable[[str], str]) -> list[str]:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field, info in model.model_fields.items():
        value = info.get_default(call_default_factory=True)
        default = "required" if value is PydanticUndefined else f"`{value!r}`"
        bounds = ", ".join(filter(None, map(_bound, info.metadata)))
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        lines.append(
            f"| `{name(field)}` | {_type(info.annotation)} {bounds} | {default} | {meaning} |".replace("  ", " ")
        )
    return lines


def spec_page() -> str:
    """Return the reference of the spec."""
    lines = ["# The spec, field by field", "", "Generated from the models by `python docs/generate.py`.", ""]
    for title, model in _SPEC.items():
        lines += [f"## {title}", "", " ".join((model.__doc__ or "").split()), "", *_table(model, str), ""]
    return "\n".join(lines)


def _flag(model: type[BaseModel], field: str) -> str:
    info = model.model_fields[field]
    if any(getattr(rule, "__name__", "") == "_CliPositionalArg" for rule in info.metadata):
        return field.upper()
    return f"--{(info.alias or field).replace('_', '-')}"


def settings_page() -> str:
    """Return the reference of the settings of services and commands."""
    lines = ["# Settings", "", "Generated from the models by `python docs/generate.py`.", ""]
    lines += [
        "Each is a flag, an environment variable `PENSTOCK_<FIELD>` (upper case, `_`) and a key of the TOML file that",
        "`--config` or `PENSTOCK_CONFIG` names; flags win over the environment, that over the file.",
        "",
    ]
    for title, model in _SETTINGS.items():
        rows = _table(model, functools.partial(_flag, model))
        lines += [f"## `{title}`", "", " ".join((model.__doc__ or "").split()), "", *rows, ""]
    return "\n".join(lines)


_METRICS: dict[str, typing.Iterable[Definition]] = {
    "Every service": COMMON,
    "Ventilator": ventilator_metrics.METRICS,
    "Sink": sink_metrics.METRICS,
    "Worker": worker_metrics.METRICS,
    "Trainer": feed_metrics.METRICS,
}
_ABOUT_METRICS = """# Metrics

Generated from the definitions by `python docs/generate.py`.

Every service answers `GET /metrics` where it answers `/healthz` (`--health`, loopback and any free port by default;
the log says where), in Prometheus's text format, or in OpenMetrics if the Accept header asks for it. The values are
what the parts told each other last, at most a second (`heartbeat_s`) old: counting costs once a task or batch, never
once a sample. Beside what stands here, each process has the usual `process_*`: processor time, memory, descriptors.

`GET /status` of the ventilator is the whole topology at once, as JSON: `penstock.Snapshot`, field
by field documented there. It names hosts and files, so it is served on loopback and Unix sockets only.
`stack.snapshot()` and `stack.metrics()` of `penstock.local` have both. What the words of `penstock_verdict` mean
stands in [verdict.md](verdict.md).

A training program exposes its own side with one line:

```python
from penstock import FeedCollector, serve_metrics

serve_metrics("127.0.0.1:9400", feed)  # a page of its own, or
prometheus_client.REGISTRY.register(FeedCollector(feed))  # beside the program's other metrics
```

`deploy/monitoring/` has a configuration of Prometheus and a Grafana dashboard. In containers they come by a profile;
the services must then answer Prometheus beyond their own containers, inside the Compose network:

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
    """Write the pages beside this file."""
    for name, page in PAGES.items():
        (_HERE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
