"""The dashboard, the alert rules and the reference name what the code counts, and nothing else."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.metrics import METRICS, Histogram
from serve_app.reference import DOCS, TABLES, with_table

MONITORING = Path(__file__).parents[2] / "configs" / "monitoring"
SELECTOR = re.compile(r"(face_api_[a-z0-9_]+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
PARTS = ("_bucket", "_sum", "_count")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "grafana" / "face-api.json").read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"]
    yield from re.findall(r"```promql\n(.*?)```", (DOCS / "metrics.md").read_text(), re.DOTALL)


def metric_of(sample: str) -> str:
    for part in PARTS:
        if isinstance(METRICS.get(sample.removesuffix(part)), Histogram):
            return sample.removesuffix(part)
    return sample


def test_every_metric_and_label_that_is_asked_for_exists() -> None:
    asked = 0
    for expression in expressions():
        for sample, labels in SELECTOR.findall(expression):
            metric = METRICS[metric_of(sample)]
            assert isinstance(metric, Histogram) == (metric.name != sample), expression
            known = {*metric.labels, "instance", "job", *(["le"] if sample.endswith("_bucket") else [])}
            assert set(LABEL.findall(labels)) <= known, expression
            asked += 1
    assert asked > 50


def test_every_metric_is_shown_on_the_dashboard() -> None:
    shown = {
        metric_of(sample)
        for panel in panels()
        for target in panel.get("targets", ())
        for sample, _ in SELECTOR.findall(target["expr"])
    }
    assert shown == set(METRICS)


@pytest.mark.parametrize("name", TABLES)
def test_tables_made_from_the_code_are_current(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text()
    assert text == with_table(text, name), "run: make docs"


def test_every_alert_says_what_it_means_and_has_a_test() -> None:
    tested = (MONITORING / "alerts_test.yaml").read_text()
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["alert"] in tested, rule["alert"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts_test.yaml"),
    ],
    ids="-".join,
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on PATH; it is in Debian's package `prometheus`")
    done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
