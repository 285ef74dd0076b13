"""Prometheus metrics, made from the cores' counters on request, so that counting stays cheap.

This module has the format and the metrics that every service has; each part defines its own metrics in its folder. A
metric that is not defined cannot be exposed, and `docs/metrics.md` is made from the definitions. No global registry, no
state. Prometheus's library is imported at the first request: a stack's first batch does not wait for it.
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

from penstock.protocol.runtime.histogram import Histogram
from penstock.protocol.transport.rejects import REASONS
from penstock.protocol.version import __version__

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector

    _Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric: its name with its unit, what it counts, and the names of its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()

    def family(self) -> "_Family":
        """Return an empty family."""
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - see above
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        match self.kind:
            case "counter":
                return CounterMetricFamily(self.name.removesuffix("_total"), self.text, labels=self.labels)
            case "gauge":
                return GaugeMetricFamily(self.name, self.text, labels=self.labels)
            case "histogram":
                return HistogramMetricFamily(self.name, self.text, labels=self.labels)


#: Metrics that every service exposes, in addition to the process's own `process_*` (processor time, memory,
#: descriptors).
COMMON = (
    Definition("penstock_build_info", "gauge", "Always 1: the versions that run", ("service", "version", "python")),
    Definition("penstock_restarts_total", "counter", "Times that the supervisor has started this process again"),
    Definition("penstock_rejected_messages_total", "counter", "Messages dropped or refused", ("reason",)),
)


class MetricsPage:
    """The values of one scrape."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        """Take the definitions of the metrics."""
        self._known = {definition.name: definition for definition in definitions}
        self._families: dict[str, _Family] = {}

    def add(self, name: str, value: float, *labels: object) -> None:
        """Give one series its value."""
        family = cast("CounterMetricFamily | GaugeMetricFamily", self._family(name, labels))
        assert self._known[name].kind != "histogram", name  # noqa: S101
        family.add_metric([str(label) for label in labels], value)

    def add_each(self, name: str, values: Mapping[str, float], *labels: object) -> None:
        """Give the series of each key its value; `labels` go before the key."""
        for key, value in values.items():
            self.add(name, value, *labels, key)

    def add_histogram(self, name: str, histogram: Histogram, *labels: object) -> None:
        """Give one histogram its buckets."""
        family = cast("HistogramMetricFamily", self._family(name, labels))
        assert self._known[name].kind == "histogram", name  # noqa: S101
        family.add_metric([str(label) for label in labels], histogram.cumulative(), histogram.total_s)

    def families(self) -> "list[Metric]":
        """Return the metrics that were added, in the order of the definitions."""
        return [self._families[name] for name in self._known if name in self._families]

    def _family(self, name: str, labels: Sequence[object]) -> "_Family":
        definition = self._known[name]
        assert len(labels) == len(definition.labels), definition  # noqa: S101
        return self._families.setdefault(name, definition.family())


def add_common(page: MetricsPage, service: str, restarts: int, rejected: Mapping[str, int]) -> None:
    """Add the metrics that every service exposes."""
    page.add("penstock_build_info", 1, service, __version__, platform.python_version())
    page.add("penstock_restarts_total", restarts)
    page.add_each("penstock_rejected_messages_total", dict.fromkeys(REASONS, 0) | dict(rejected))


class PageCollector:
    """Fills a page whenever it is asked; for a registry of one's own."""

    def __init__(self, definitions: Iterable[Definition], fill: Callable[[MetricsPage], None]) -> None:
        """Take the function that fills it."""
        self._definitions, self._fill = tuple(definitions), fill

    def describe(self) -> "Iterable[Metric]":
        """Return the families, empty: a registry looks for doubled names without asking for values."""
        return [definition.family() for definition in self._definitions]

    def collect(self) -> "Iterable[Metric]":
        """Return the values now."""
        page = MetricsPage(self._definitions)
        self._fill(page)
        return page.families()


class Metrics:
    """A registry with one collector and the process's own, written in the format that is asked for."""

    def __init__(self, definitions: Iterable[Definition], fill: Callable[[MetricsPage], None]) -> None:
        """Take the function that fills a page with the values of these metrics."""
        self._page = PageCollector(definitions, fill)

    @cached_property
    def _registry(self) -> "CollectorRegistry":
        from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - see above

        registry = CollectorRegistry()
        registry.register(cast("Collector", self._page))
        ProcessCollector(registry=registry)
        return registry

    def answer(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the page: OpenMetrics where the Accept header has it, else Prometheus's text."""
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - see above

        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)
