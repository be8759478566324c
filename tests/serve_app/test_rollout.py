"""What `face-api deploy` refuses before it talks to anybody; tests/serving/test_operating.py has the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from serve_app.embedded.private_file import write_private
from serve_app.rollout import Running, StartError, deploy, is_alive, read_config
from serve_app.settings import Settings, SettingsError

LOCAL = Path(__file__).parents[2] / "configs" / "local.yaml"


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_ended_is_not_alive() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(ended_pid())


def test_what_a_killed_service_left_is_no_service(tmp_path: Path) -> None:
    write_private(tmp_path / "ray.json", Running(ended_pid(), "127.0.0.1:1", "token", "scrfd_500m", "1"))
    with pytest.raises(StartError, match="no service"):
        deploy(Settings(data_dir=tmp_path), LOCAL, Console(quiet=True), restart=False)


def test_wrong_settings_are_found_before_anything_is_changed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(LOCAL.read_text().replace("args: {}", "args: {max_in_flight: -1, release: x}"))
    with pytest.raises(SettingsError, match="FACE_API_MAX_IN_FLIGHT"):
        deploy(Settings(data_dir=tmp_path), config, Console(quiet=True), restart=False)


def test_a_file_that_is_no_config_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("applications: 1")
    with pytest.raises(StartError, match="no Ray Serve config"):
        read_config(path)


def test_what_a_config_says_takes_the_place_of_what_runs() -> None:
    running = Running(1, "", "", "scrfd_500m", "7")
    config = {"applications": [{"args": {"model": None, "threads": 2}}, {"args": {"release": "8"}}, {}]}
    running.add_args(config)
    assert [one["args"] for one in config["applications"]] == [
        {"model": "scrfd_500m", "release": "7", "threads": 2},
        {"model": "scrfd_500m", "release": "8"},
        {"model": "scrfd_500m", "release": "7"},
    ]
