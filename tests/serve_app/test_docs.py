"""The documentation names what the code has, and all of it."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.reference import DOCS
from serve_app.settings import Settings

PROJECT = Path(__file__).parents[2]
ALERTS = PROJECT / "configs" / "monitoring" / "alerts.yaml"
PAGES = sorted(DOCS.glob("*.md"))
SETTINGS = {f"FACE_API_{name.upper()}" for name in Settings.model_fields}
VARIABLE = re.compile(r"\bFACE_API_[A-Z0-9_]*[A-Z0-9]")
OUTSIDE = re.compile(r"""(?:environ(?:\.get)?[\[(]\s*|getenv\(\s*|PIPE: Final = )["'](\w+)""")


def test_every_setting_stands_in_the_configuration_reference_and_no_other() -> None:
    page = (DOCS / "configuration.md").read_text()
    table = page.split("<!-- configuration -->")[1].split("<!-- end -->")[0]
    assert set(VARIABLE.findall(table)) >= SETTINGS
    assert set(re.findall(r"^\| `(\w+)` \| `(\w+)`", table, re.MULTILINE)) == {
        (f"FACE_API_{name.upper()}", name) for name in Settings.model_fields
    }


def test_every_variable_that_is_read_elsewhere_is_explained_too() -> None:
    page = (DOCS / "configuration.md").read_text().split("## Other variables")[1]
    sources = [
        p for folder in ("serve_app", "deployments", "models") for p in (PROJECT / folder).rglob("*.py")
    ]
    read = {name for path in sources for name in OUTSIDE.findall(path.read_text())} - SETTINGS
    assert {"FACE_API_LOG_PIPE", "OTEL_SERVICE_NAME", "FACE_API_URL"} <= read
    for name in read:
        assert name in page or f"{name.split('_')[0]}_*" in page, name
    known = "\n".join(path.read_text() for path in [*sources, *(PROJECT / "tests").rglob("*.py")])
    for name in VARIABLE.findall(page):
        assert name in SETTINGS or f'"{name}"' in known, name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_names_only_what_exists(page: Path) -> None:
    text = page.read_text()
    others = {
        "FACE_API_LOG_PIPE",
        "FACE_API_URL",
        "FACE_API_KEY",
        "FACE_API_SHARED_DIR",
        "FACE_API_TEST_JOBS",
    }
    families = {"FACE_API_RATE_LIMIT", "FACE_API_S3"}  # FACE_API_S3_*
    assert set(VARIABLE.findall(text)) <= SETTINGS | others | families
    for name in re.findall(r"(?<![\w/-])((?:configs|docs|tests|serve_app|loadtests)/[\w./-]*\w)", text):
        assert (PROJECT / name).exists(), name
    runner = CliRunner()
    for command in set(re.findall(r"face-api ([a-z]+)", text)):
        assert runner.invoke(app, [command, "--help"]).exit_code == 0, command


def test_every_alert_has_its_section_in_the_runbook_and_no_other() -> None:
    if not ALERTS.exists():
        pytest.skip("there are no alert rules")
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    sections = re.findall(r"^## (\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert sections == alerts
