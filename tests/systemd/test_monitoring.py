"""The dashboard and the alerts: what they ask for is what daemons export, with one process and with several workers."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rtmsd.admin.fleet import samples
from rtmsd.admin.fleet.status import WORKER_SILENT
from rtmsd.daemon.health import TroubleCode
from tests.daemon.whole import config, running_daemon
from tests.node.nodes import three_nodes
from tests.node.test_metrics import metrics_of

UNITS = Path(__file__).parents[2] / "systemd"
DASHBOARD: dict[str, Any] = json.loads((UNITS / "grafana-dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((UNITS / "prometheus-rules.yml").read_text())["groups"] for rule in group["rules"]
]
SHARED_LABELS = {"instance", "job"}  # of every sample, from Prometheus itself
_SELECTOR = re.compile(r"\b((?:rtmsd|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def queries(value: Any) -> Iterator[str]:
    """Every PromQL expression of a dashboard."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "expr":
                yield inner
            else:
                yield from queries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from queries(inner)


EXPRESSIONS = [*queries(DASHBOARD), *(rule["expr"] for rule in RULES)]


def labels_of(text: str) -> dict[str, dict[str, set[str]]]:
    """Return the values of each label, by name of sample."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


@pytest.fixture
async def exported(tmp_path: Path) -> Mapping[str, Mapping[str, set[str]]]:
    """The samples of a daemon that is a member of a cluster, and of several workers."""
    async with running_daemon(config(tmp_path)) as backend, three_nodes(settle_s=0) as nodes:
        await nodes["a"].heart.has_listened.wait()
        backend.metrics_source.add(metrics_of(nodes["a"]))
        one = backend.metrics().decode()
    of_workers = samples.merged({number: samples.parsed(one) for number in ("1", "2")}, (), ["3"])
    found = labels_of(one)
    for name, labels in labels_of(of_workers).items():
        for label, values in labels.items():
            found.setdefault(name, {}).setdefault(label, set()).update(values)
    return found


async def test_each_query_asks_for_what_is_exported(exported: Mapping[str, Mapping[str, set[str]]]) -> None:
    assert len(EXPRESSIONS) > 20
    for expression in EXPRESSIONS:
        selectors = _SELECTOR.findall(expression)
        assert selectors, expression
        available: set[str] = set(SHARED_LABELS)
        for name, matchers in selectors:
            assert name in exported, expression
            available |= exported[name].keys()
            for label, operator, value in _MATCHER.findall(matchers):
                if label == "instance":
                    continue
                assert label in exported[name], expression
                wanted = value.split("|") if operator == "=~" else [value] if operator == "=" else []
                assert set(wanted) <= exported[name][label], expression
        grouped = {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",")}
        assert grouped <= available, expression


def test_each_trouble_has_one_alert() -> None:
    alerted = [
        code for rule in RULES for codes in re.findall(r'code=~"([^"]+)"', rule["expr"]) for code in codes.split("|")
    ]
    assert sorted(alerted) == sorted([*TroubleCode, WORKER_SILENT])


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        texts = " ".join(rule["annotations"].values())
        used = set(re.findall(r"\$labels\.(\w+)", texts))
        assert used <= SHARED_LABELS | {
            label for label in ("code", "media", "reason", "worker", "message") if label in rule["expr"]
        }


def test_any_job_name_is_accepted() -> None:
    """The administrator chooses it; metrics of every exporter are selected by the instances that have rtmsd's own."""
    assert not [query for query in EXPRESSIONS if re.search(r"\bjob\s*(=|!)", query)]
    shared = [query for query in EXPRESSIONS if "process_" in query]
    assert shared
    assert all(query.rstrip(")").endswith(" and on (instance, job) rtmsd_build_info") for query in shared)


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
