"""The Dockerfile and the compose files are well-formed and name what is there; no engine is needed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from serve_app.embedded import rclone
from serve_app.rollout import read_config
from serve_app.settings import Settings
from serve_app.storage.names import PREFIXES

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "configs" / "docker"
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(path: Path) -> str:
    """As compose puts variables in: the default, or a word for what has to be given."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == "-" else "given", path.read_text())


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [program, str(DOCKER / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_image_is_built_from_files_that_are_there_and_not_ignored() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    admitted = re.findall(r"^!(.*)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()
    ]
    assert len(copied) > 5
    for name in copied:
        assert (PROJECT / name).exists(), name
        assert any(one.split("/")[0] == name for one in admitted), name
    for name in admitted:
        assert list(PROJECT.glob(name)), name
    for name in re.findall(r"configs/[\w.]+\.yaml", text):
        read_config(PROJECT / name)
    settings = {f"FACE_API_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"(FACE_API_\w+)=", text)) <= settings


def test_both_images_end_as_a_user_without_rights_and_answer_a_health_check() -> None:
    stages = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    final = {stage.split()[2]: stage for stage in stages}
    for target in ("cpu", "cuda"):
        assert "\nUSER 10001\n" in final[target]
    assert "HEALTHCHECK" in final["service"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_follows_the_specification(path: Path) -> None:
    compose_spec.PyCompose.from_yaml(interpolated(path))


def test_what_compose_mounts_and_sets_exists() -> None:
    text = interpolated(DOCKER / "compose.yaml")
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    volumes = yaml.safe_load(text)["volumes"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source != "./models":  # the user's
                assert source in volumes or (DOCKER / source).exists(), source
    settings = {f"FACE_API_{name.upper()}" for name in Settings.model_fields}
    assert set(services["face-api"]["environment"]) <= settings
    read_config(PROJECT / services["face-api"]["command"][-1])
    needed = set(re.findall(r"\$\{(\w+):\?", (DOCKER / "compose.yaml").read_text()))
    offered = re.findall(r"^(\w+)=$", (DOCKER / "example.env").read_text(), re.MULTILINE)
    assert needed == set(offered)


def test_the_s3_server_of_compose_runs_as_the_embedded_one_does() -> None:
    (script,) = yaml.safe_load(interpolated(DOCKER / "compose.yaml"))["services"]["s3"]["command"]
    assert script.split("rclone serve s3 /data --addr=:9000 ")[1].split() == list(rclone.OPTIONS)
    assert f"/{rclone.BUCKET}/$$folder/{rclone.KEEPER}" in script
    assert f"for folder in {' '.join(prefix.rstrip('/') for prefix in PREFIXES)};" in script


def test_the_scrape_config_of_compose_differs_in_its_target_only() -> None:
    ours = yaml.safe_load((DOCKER / "prometheus.yaml").read_text())
    other = yaml.safe_load((PROJECT / "configs" / "monitoring" / "prometheus.yaml").read_text())
    assert ours["scrape_configs"][0]["static_configs"] == [{"targets": ["face-api:9464"]}]
    del ours["scrape_configs"][0]["static_configs"], other["scrape_configs"][0]["static_configs"]
    assert ours == other


def test_the_lock_of_the_cuda_image_has_the_versions_of_the_other_lock() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([\w.+-]+)", (PROJECT / name).read_text(), re.MULTILINE))

    one, other = versions("requirements.lock"), versions("requirements-cuda.lock")
    assert "nvidia-cublas" in other
    assert {
        name: version for name, version in other.items() if not name.startswith("nvidia-")
    }.items() <= one.items()
