"""`face-api deploy`: a running service takes a new Ray config, or new code, without losing a request.

Ray Serve does it: what needs no restart (replicas, batches) changes in place, everything else replica by
replica, the new one before the old one where the config gives `max_surge_percent`.
"""

import logging
import os
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from rich.console import Console

from serve_app.embedded.private_file import read_private, write_private
from serve_app.settings import Settings, load_settings

POLL_S: Final = 0.25
TIMEOUT_S: Final = 600.0
"""How long a rollout may take: replicas may have to compile for a GPU, one after the other."""


class StartError(Exception):
    """The service could not start or change; the message is for the person at the terminal."""


def read_config(path: Path) -> dict[str, Any]:
    """A Ray Serve config as a dictionary; StartError when it is not one."""
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise StartError(f"cannot read the Ray config {path}: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("applications"), list):
        raise StartError(
            f"{path} is no Ray Serve config: it has no list `applications`; see configs/local.yaml"
        )
    return config


@dataclass(frozen=True, slots=True)
class Running:
    """What `face-api serve` writes down for `face-api deploy`."""

    pid: int
    address: str  # of its Ray
    token: str  # that its Ray asks for
    model: str
    release: str

    def add_args(self, config: dict[str, Any]) -> None:
        """Give every application of a config its arguments; what the config says takes their place."""
        for application in config["applications"]:
            given = {
                name: value for name, value in (application.get("args") or {}).items() if value is not None
            }
            application["args"] = {"model": self.model, "release": self.release, **given}


def record(settings: Settings, running: Running) -> None:
    """When the service has started or changed."""
    write_private(_record_path(settings), running)


def forget(settings: Settings) -> None:
    """When the service has ended."""
    _record_path(settings).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this number is there, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def deploy(settings: Settings, path: Path, console: Console, *, restart: bool) -> None:
    """Bring the service that `face-api serve` started here to a config, and wait until it is there.

    Args:
        settings: Say where it keeps its data; all others are those it started with.
        path: The Ray config.
        console: Hears of the progress.
        restart: Start every replica anew, for new code or weights.

    Raises:
        StartError: Nothing runs here, or the config cannot be had; what ran goes on.
        SettingsError: The config's args are wrong.
    """
    config = read_config(path)
    for application in config["applications"]:
        given = application.get("args") or {}
        load_settings(**{name: value for name, value in given.items() if name != "release"})
    running = read_private(_record_path(settings), Running)
    if running is None or not is_alive(running.pid):
        raise StartError(
            f"no service of `face-api serve` runs in {settings.data_dir} (FACE_API_DATA_DIR); "
            "one on a Ray cluster of yours takes a config with `serve deploy`"
        )
    if restart:
        running = replace(running, release=uuid.uuid4().hex[:8])
    running.add_args(config)
    # Our Ray is on 127.0.0.1, and has a token of its own.
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": running.token}
    import ray  # noqa: PLC0415 - after its switch

    for name in ("ray", "ray.serve"):  # what they have to say is not for the operator
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(running.address, namespace="serve", logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as error:
        raise StartError(f"the service in {settings.data_dir} does not answer; is it still there?") from error
    try:
        apply(config)
        record(settings, running)
        _wait_until_there(console)
    finally:
        ray.shutdown()


def apply(config: dict[str, Any]) -> None:
    """Hand a config to the Ray Serve that this process is connected to; StartError when it is none."""
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    try:
        schema = ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}"
            for p in error.errors()
        )
        raise StartError(f"Ray Serve does not take this config: {problems}") from error
    _client().deploy_apps(schema, _blocking=False)


def drain(timeout_s: float) -> None:
    """End every ingress replica: each answers what it accepted, while all stages still work."""
    from ray import serve as ray_serve  # noqa: PLC0415

    applications = [
        one["deployed_app_config"] for one in _client().get_serve_details()["applications"].values()
    ]
    for application in applications:
        others = [one for one in application["deployments"] if one["name"] != "Ingress"]
        application["deployments"] = [*others, {"name": "Ingress", "num_replicas": 0}]
    apply({"proxy_location": "Disabled", "applications": applications})
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ingresses = [one.deployments.get("Ingress") for one in ray_serve.status().applications.values()]
        if not any(one.replica_states for one in ingresses if one is not None):
            return
        time.sleep(POLL_S)


def reason(application: Any) -> str:  # noqa: ANN401 - Ray's type is private
    """The last line of the error that kept a stage from starting, without its traceback."""
    messages = [application.message, *(d.message for d in application.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines() if "Error: " in line]
    return str(lines[-1] if lines else application.message)


def _client() -> Any:  # noqa: ANN401 - Ray's type is private
    from ray.serve.context import _get_global_client  # noqa: PLC0415

    return _get_global_client()


def _wait_until_there(console: Console) -> None:
    from ray import serve as ray_serve  # noqa: PLC0415

    deadline = time.monotonic() + TIMEOUT_S
    said = ""
    while time.monotonic() < deadline:
        applications = list(ray_serve.status().applications.values())
        for application in applications:
            if application.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                raise StartError(f"the new config failed, and what ran goes on: {reason(application)}")
        replicas = [
            f"{name} {' + '.join(f'{count} {state.lower()}' for state, count in one.replica_states.items())}"
            for application in applications
            for name, one in application.deployments.items()
        ]
        if (text := ", ".join(replicas)) != said:
            console.print(text, highlight=False, soft_wrap=True)
            said = text
        if all(
            application.status == "RUNNING"
            and all(set(one.replica_states) <= {"RUNNING"} for one in application.deployments.values())
            for application in applications
        ):
            console.print("[bold green]done[/]")
            return
        time.sleep(POLL_S)
    raise StartError(f"the new config was not there after {TIMEOUT_S:.0f} s; what ran goes on")


def _record_path(settings: Settings) -> Path:
    return (settings.data_dir / "ray.json").resolve()
