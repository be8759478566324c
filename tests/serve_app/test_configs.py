"""The Ray configs and the README agree with the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve_app.settings import Settings, SettingsError, load_settings

PROJECT = Path(__file__).parents[2]
CONFIGS = sorted((PROJECT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_valid_and_bounds_every_queue(path: Path) -> None:
    config: Any = yaml.safe_load(path.read_text())
    ServeDeploySchema.model_validate(config)
    (application,) = config["applications"]
    load_settings(**application["args"])
    stages = {deployment["name"]: deployment for deployment in application["deployments"]}
    assert set(stages) == {"Ingress", "Decoder", "Detector", "Masker", "Limiter", "MaintenanceWorker"}
    assert all(stage["max_queued_requests"] > 0 for stage in stages.values())
    detector = stages["Detector"]
    assert detector["max_ongoing_requests"] >= 2 * detector["user_config"]["max_batch_size"]
    assert stages["Limiter"]["num_replicas"] == 1
    for name in ("Decoder", "Detector", "Masker"):
        assert stages[name]["max_queued_requests"] >= Settings().max_in_flight


@pytest.mark.parametrize("name", ["cpu", "gpu", "gpu_shared", "gpus"])
def test_a_config_for_production_has_one_model_and_no_substitute(name: str) -> None:
    config: Any = yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text())
    assert config["applications"][0]["args"]["model"] == "scrfd_10g"


def test_the_readme_names_no_setting_that_is_none() -> None:
    readme = (PROJECT / "README.md").read_text()
    named = set(re.findall(r"FACE_API_[A-Z0-9_]*[A-Z0-9]", readme))
    assert named <= {f"FACE_API_{name.upper()}" for name in Settings.model_fields}


def test_a_wrong_setting_is_named_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_API_MAX_UPLOAD_BYTES", "-1")
    with pytest.raises(SettingsError, match=r"FACE_API_MAX_UPLOAD_BYTES.*greater than 0"):
        load_settings()
    monkeypatch.delenv("FACE_API_MAX_UPLOAD_BYTES")
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SettingsError, match="PORT"):
        load_settings()
    with pytest.raises(SettingsError, match="modle"):
        load_settings(modle="scrfd_10g")


def test_the_port_is_read_from_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    assert load_settings().port == 8123
