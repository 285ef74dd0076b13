"""deploy/monitoring: the dashboard asks for what is exposed, and Prometheus understands its configuration."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.runtime.metrics import Definition
from penstock.sink import metrics as sink_metrics
from penstock.trainer.feed import metrics as feed_metrics
from penstock.ventilator.monitoring import metrics as ventilator_metrics
from penstock.worker import metrics as worker_metrics

KNOWN: dict[str, Definition] = {
    definition.name: definition
    for part in (ventilator_metrics, sink_metrics, worker_metrics, feed_metrics)
    for definition in part.METRICS
}
#: What the client adds for each process, and the labels that Prometheus adds to everything.
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
ADDED = {"job", "instance", "part", "le"}


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    """Return the dashboard."""
    path = root / "deploy" / "monitoring" / "grafana" / "dashboards" / "penstock.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Return what the dashboard asks Prometheus for."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def definition_of(name: str) -> Definition | None:
    """Return the metric that a series belongs to."""
    return KNOWN.get(name) or KNOWN.get(re.sub(r"_(bucket|sum|count)$", "", name))


def test_every_metric_of_every_panel_exists_with_its_labels(expressions: list[str]) -> None:
    """A renamed metric, or a label that it has not, would leave a panel empty without a word."""
    assert len(expressions) > 30
    for expression in expressions:
        names = re.findall(r"\b((?:penstock|process)_\w+)", expression)
        assert names
        labels: set[str] = set()
        for name in names:
            definition = definition_of(name)
            assert definition or name in PROCESS, f"{name} in {expression}"
            labels |= set(definition.labels if definition else ())
        asked = re.findall(r"by \(([^)]*)\)", expression) + re.findall(r"(\w+)!?=~?\"", expression)
        assert {label.strip() for group in asked for label in group.split(",")} <= labels | ADDED, expression


def test_sums_are_asked_for_as_rates_or_as_totals_but_levels_never_as_rates(expressions: list[str]) -> None:
    """The rate of a gauge means nothing."""
    for expression in expressions:
        for name in re.findall(r"rate\((\w+)", expression):
            definition = definition_of(name)
            assert definition is None or definition.kind != "gauge", expression


def test_every_panel_s_question_is_answered_by_prometheus_itself(expressions: list[str], tmp_path: Path) -> None:
    """Its own engine, given one series of every metric that is exposed, finds something for each expression.

    A question that does not parse, or that joins series whose labels differ, would leave a panel empty without a word.
    """
    asked = [expression.replace("$__rate_interval", "1m") for expression in expressions]
    answers = [{"expr": f"count({each}) > bool 0", "value": 1.0} for each in asked]
    [fill] = [each for each in asked if "window_samples" in each]
    levels = {"penstock_sink_held_samples": 30, "penstock_sink_in_flight_samples": 20}
    ask(tmp_path, {**levels, "penstock_sink_window_samples": 100}, [*answers, {"expr": f"sum({fill})", "value": 0.5}])


def ask(folder: Path, levels: dict[str, int], answers: list[dict[str, Any]]) -> None:
    """Let Prometheus answer after five minutes in which counters rose, and gauges stood at 1 or what `levels` says."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED BY PROMTOOL: it is not installed (Debian's package prometheus has it)")
    series = [
        {"series": name, "values": "0+7x20" if is_sum else f"{levels.get(name.partition('{')[0], 1)}x20"}
        for name, is_sum in every_series()
    ]
    samples = [
        {"expr": each["expr"], "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": each["value"]}]}
        for each in answers
    ]
    file = folder / "questions.yml"  # JSON is YAML
    group = {"interval": "15s", "input_series": series, "promql_expr_test": samples}
    file.write_text(json.dumps({"rule_files": [], "tests": [group]}), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def every_series() -> Iterator[tuple[str, bool]]:
    """Yield a series of every metric as Prometheus stores it, and whether it only rises."""
    known = {name: (definition.kind, definition.labels) for name, definition in KNOWN.items()}
    known |= {name: ("counter" if name.endswith("_total") else "gauge", ()) for name in PROCESS}
    for name, (kind, labels) in known.items():
        told = {"job": "penstock", "instance": "sink:8080", "part": "sink"} | dict.fromkeys(labels, "some")
        ends = [("_bucket", {"le": "1"}), ("_bucket", {"le": "+Inf"}), ("_sum", {}), ("_count", {})]
        for end, more in ends if kind == "histogram" else [("", {})]:
            pairs = ",".join(f'{label}="{value}"' for label, value in {**told, **more}.items())
            yield f"{name}{end}{{{pairs}}}", kind != "gauge"


def test_the_documented_metrics_that_matter_most_are_on_the_dashboard(expressions: list[str]) -> None:
    """Verdict, waiting, flow, queues, trouble."""
    text = " ".join(expressions)
    for name in (
        "penstock_verdict",
        "penstock_stalled",
        "penstock_workers_missing",
        "penstock_trainer_wait_ratio",
        "penstock_sink_starved_seconds_total",
        "penstock_ventilator_head_of_line_age_seconds",
        "penstock_worker_stage_seconds_bucket",
        "penstock_sink_items_quarantined_total",
        "penstock_rejected_messages_total",
    ):
        assert re.search(rf"{name}\b", text), name


def test_panels_have_places_of_their_own(dashboard: dict[str, Any]) -> None:
    """Unique numbers, within the grid's 24 columns, none over another; all ask the data source that is provisioned."""
    panels = dashboard["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert all("prometheus" == target["datasource"]["uid"] for target in panel.get("targets", []))
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_provisioned_files_name_each_other(root: Path) -> None:
    """The data source is the one that panels name; the provider reads the folder that Compose mounts."""
    grafana = root / "deploy" / "monitoring" / "grafana"
    assert "uid: prometheus\n" in (grafana / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    provider = (grafana / "provisioning/dashboards/penstock.yml").read_text(encoding="utf-8")
    assert "path: /etc/grafana/dashboards" in provider


def test_prometheus_understands_its_configuration(root: Path) -> None:
    """The checker of Prometheus itself."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED BY PROMTOOL: it is not installed (Debian's package prometheus has it)")
    path = root / "deploy" / "monitoring" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
