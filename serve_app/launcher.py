"""`face-api serve`: a private Ray on this machine, the service on it, and an end that leaves nothing.

Ray reads its switches when it is imported, so they are set here first, and `ray` is imported late.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from rich.console import Console

from deployments.transport import sweep
from models.errors import ModelError
from models.resolve import resolve_model
from serve_app.settings import Settings

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "local.yaml"
RAY_SWITCHES: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",  # gRPC between replicas, no extra event loops
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # our ingress listens itself
    "RAY_SERVE_LOG_TO_STDERR": "0",  # Ray's own chatter stays in its session folder; ours is on stderr
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the switch that makes Ray listen on 127.0.0.1 only
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),  # inline pictures of other hosts
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_enable_metrics_collection": "0",
    # glibc gives large blocks back to the kernel after each picture unless told to keep them.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TOP_PAD_": str(32 * 2**20),
}
READY_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 6.0


class StartError(Exception):
    """The service could not start; the message is for the person at the terminal."""


def serve(settings: Settings, config_path: Path, console: Console) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Raises:
        StartError: The port is taken, the config is wrong, or a stage failed to start.
        ModelError: The weights cannot be had.
    """
    config = read_config(config_path)
    check_port(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with console.status("looking for the weights"):
        resolved = resolve_model(settings.model_source())
    for note in resolved.notes:
        console.print(f"[bold yellow]{note}[/]")
    session = uuid.uuid4().hex[:8]
    for application in config["applications"]:
        given = application.get("args") or {}
        application["args"] = {"model": settings.model or resolved.setting, **given, "session": session}
    console.print(f"starting {resolved.name}; this takes half a minute")
    os.environ.update({**RAY_SWITCHES, **{k: v for k, v in os.environ.items() if k in RAY_SWITCHES}})
    try:
        _deploy(config)
        _wait_until_ready(settings, stop)
        if not stop.is_set():
            console.print(_welcome(settings, resolved.licence, _health(settings)["model"]), highlight=False)
        stop.wait()
    finally:
        console.print("stopping")
        _shut_down()
        sweep(0.0, session)


def read_config(path: Path) -> dict[str, Any]:
    """A Ray Serve config as a dictionary; StartError when it is not one."""
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise StartError(f"cannot read the Ray config {path}: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("applications"), list):
        raise StartError(
            f"{path} is no Ray Serve config: it has no list `applications`; see {DEFAULT_CONFIG}"
        )
    return config


def check_port(settings: Settings) -> None:
    """StartError when something already listens on the port.

    Ingress replicas share it through SO_REUSEPORT, so a second service would steal half the requests.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise StartError(
                f"port {settings.port} on {settings.host} cannot be used ({error.strerror}); "
                f"choose another: PORT={settings.port + 1} face-api serve"
            ) from error


def base_url(settings: Settings) -> str:
    """Where a client on this machine reaches the service."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
    return f"http://{host}:{settings.port}"


def _deploy(config: dict[str, Any]) -> None:
    import ray  # noqa: PLC0415 - after its switches are set
    from ray.serve._private.api import serve_start  # noqa: PLC0415
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    schema = ServeDeploySchema.model_validate(config)
    cores = os.cpu_count() or 1
    ray.init(
        address="local",
        num_cpus=max(4, cores),  # placement units, not threads: replicas must never wait for a core
        include_dashboard=False,
        namespace="serve",
        object_store_memory=100 * 2**20,  # pictures travel in shared memory of our own
        logging_level=logging.WARNING,
        log_to_driver=True,
    )
    client: Any = serve_start(
        http_options=schema.http_options.model_dump(), proxy_location=schema.proxy_location
    )
    client.deploy_apps(schema, _blocking=False)


def _wait_until_ready(settings: Settings, stop: threading.Event) -> None:
    from ray import serve as ray_serve  # noqa: PLC0415

    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and not stop.wait(0.25):
        for application in ray_serve.status().applications.values():
            if application.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                raise StartError(_reason(application))
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{base_url(settings)}/readyz", timeout=10).status_code == 200:
                return
    if not stop.is_set():
        raise StartError(f"the service was not ready after {READY_TIMEOUT_S:.0f} s; see the log lines above")


def _reason(application: Any) -> str:  # noqa: ANN401 - Ray's type is private
    """The last line of the error that kept a stage from starting, without its traceback."""
    messages = [application.message, *(d.message for d in application.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines() if "Error: " in line]
    return f"a stage failed to start: {lines[-1] if lines else application.message}"


def _health(settings: Settings) -> dict[str, Any]:
    health: dict[str, Any] = httpx.get(f"{base_url(settings)}/health", timeout=10).json()
    return health


def _welcome(settings: Settings, licence: str, model: str) -> str:
    url = base_url(settings)
    return (
        f"\n[bold green]ready[/]  {url}\n"
        f"model   {model} ({licence})\n"
        f"docs    {url}/docs\n"
        f"try     curl -F image=@photo.jpg {url}/api/v1/detect\n"
        f"        curl -F image=@photo.jpg {url}/api/v1/mask -o masked.jpg\n"
        "Ctrl-C stops it.\n"
    )


def _shut_down() -> None:
    """End Serve and Ray; whatever hangs is left behind after STOP_TIMEOUT_S, to be killed by Ray's reaper."""
    if "ray" not in sys.modules:
        return
    import ray  # noqa: PLC0415
    from ray import serve as ray_serve  # noqa: PLC0415

    def end() -> None:
        with contextlib.suppress(Exception):
            ray_serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()

    ender = threading.Thread(target=end, daemon=True)
    ender.start()
    ender.join(STOP_TIMEOUT_S)


__all__ = ["DEFAULT_CONFIG", "ModelError", "StartError", "serve"]
