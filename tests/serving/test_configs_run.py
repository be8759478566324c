"""The Ray configs for machines without a GPU come up as they are; local.yaml is what the other tests run."""

from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import PROJECT, start, stop
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["cpu", "autoscaling"])
def test_a_config_comes_up(name: str, tmp_path: Path) -> None:
    variables = {"FACE_API_DATABASE_URL": "off", "FACE_API_API_KEY_ENABLED": "false"}
    model = str(write_tiny_scrfd(tmp_path / "tiny.onnx"))
    config = tmp_path / "config.yaml"
    text = (PROJECT / "configs" / f"{name}.yaml").read_text()
    config.write_text(text.replace("model: scrfd_10g", f"model: {model}"))
    service = start(tmp_path, config, FACE_API_MODEL=model, **variables)
    try:
        health = httpx.get(f"{service.url}/health", timeout=20)
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert health.json()["provider"].startswith("OpenVINO") or name != "cpu"
    finally:
        stop(service)
