"""`face-api serve`: a private Ray and PostgreSQL on this machine, the service on them, and a clean end.

Ray reads its switches when it is imported, so they are set here first, and `ray` is imported late.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console

from deployments import logs
from deployments.calls import remove_calls_folder
from deployments.tally import TALLY, remove_abandoned, remove_tallies
from models.errors import ModelError
from models.resolve import resolve_model
from serve_app import lost_ray, rollout
from serve_app.database import DatabaseUnavailableError
from serve_app.doorway import Doorstop
from serve_app.embedded.postgres import EmbeddedPostgres
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.first_start import first_start
from serve_app.migrate import migrate
from serve_app.receipts.key import make_key_file
from serve_app.rollout import Running, StartError, is_alive, read_config, reason
from serve_app.settings import OFF, Settings
from serve_app.storage_tier import environment_of

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "local.yaml"
RAY_SWITCHES: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",  # gRPC between replicas, no extra event loops
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # our ingress listens itself
    "RAY_SERVE_LOG_TO_STDERR": "0",  # Ray's own chatter stays in its session folder; ours is on stderr
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the switch that makes Ray listen on 127.0.0.1 only
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),  # inline pictures of other hosts
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # at 0.1 it takes 4 % of a core, always
    "RAY_AUTH_MODE": "token",  # whoever can talk to Ray can run code, so not every user of this machine may
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 lets anything else on the machine starve the service
    # glibc gives large blocks back to the kernel after each picture unless told to keep them.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TOP_PAD_": str(32 * 2**20),
    # Each arena keeps what its threads once needed, and by itself glibc makes eight for each core.
    "MALLOC_ARENA_MAX": "4",
}
READY_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 6.0
DRAIN_MARGIN_S: Final = 3.0
RAY_LOGS: Final = "/tmp/ray/session_latest/logs"  # noqa: S108 - Ray's own folder
LEFTOVER_TIMEOUT_S: Final = 20.0
LOG_POLL_S: Final = 0.2
LOG_GATHER_S: Final = 0.02
"""Lines come in groups: waking up for each would cost as much as a twentieth of a /detect."""


def serve(settings: Settings, config_path: Path, console: Console) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Raises:
        StartError: A port is taken, the config is wrong, the database is away, or a stage failed to start.
        EmbeddedError: The embedded PostgreSQL cannot run.
        ModelError: The weights cannot be had.
    """
    config = read_config(config_path)
    environment = dict(os.environ)
    try:
        with _pid_file(settings.data_dir / "serve.pid") as was_killed:
            _check_ports(settings, LEFTOVER_TIMEOUT_S if was_killed else 0.0)
            _serve(settings, config, console, has_storage=wants_storage(settings, config_path))
    except lost_ray.RayLostError as error:
        console.print(f"[bold red]{error}[/]; starting again")
        _check_ports(settings, LEFTOVER_TIMEOUT_S)  # its replicas end by themselves
        lost_ray.become_anew(environment)


def _check_ports(settings: Settings, patience_s: float) -> None:
    check_port(settings.host, settings.port, "PORT", patience_s)
    if settings.metrics_port:
        check_port(settings.metrics_host, settings.metrics_port, "FACE_API_METRICS_PORT", patience_s)


def set_ray_switches() -> None:
    """For a Ray of this process alone; what the environment says already stays. Before ray is imported."""
    os.environ.update({**RAY_SWITCHES, **{k: v for k, v in os.environ.items() if k in RAY_SWITCHES}})
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of its own, not ~/.ray's


def wants_storage(settings: Settings, config_path: Path) -> bool:
    """Whether to run an S3 server of our own: beside the embedded PostgreSQL, unless told otherwise.

    A config other than the default one is for production: there storage is off unless asked for.
    """
    if settings.database_url is not None or settings.s3_endpoint is not None:
        return False
    if "storage_enabled" in settings.model_fields_set:
        return settings.storage_enabled
    return config_path.resolve() == DEFAULT_CONFIG.resolve()


def _serve(settings: Settings, config: dict[str, Any], console: Console, *, has_storage: bool) -> None:
    stop = threading.Event()
    _stop_on_signals(stop)
    with console.status("looking for the weights"):
        named = _model_of(config) or settings.model
        resolved = resolve_model(replace(settings.model_source(), setting=named))
    for note in resolved.notes:
        console.print(f"[bold yellow]{note}[/]")
    console.print(f"starting {resolved.name}; this takes half a minute")
    set_ray_switches()
    if settings.receipt_key is None:
        make_key_file(settings.receipt_key_file)
    with (
        _counting(settings),
        _log_pipe(settings),
        _database(settings),
        _objects(settings, has_storage),
        lost_ray.Agents() as agents,
    ):
        try:
            running = _deploy(config, named or resolved.setting)
            agents.watch_over()
            rollout.record(settings, running)
            _stop_on_signals(stop)  # Ray has put a handler of its own there, which aborts us 3 s later
            _wait_until_ready(settings, stop)
            with _doorstop(settings):
                if not stop.is_set():
                    model = _health(settings)["model"]
                    text = _welcome(settings, resolved.licence, model, has_storage=has_storage)
                    console.print(text, highlight=False, soft_wrap=True)
                lost_ray.watch(stop)
        finally:
            console.print("stopping")
            _shut_down(settings.request_timeout_s)
            rollout.forget(settings)


@contextlib.contextmanager
def _doorstop(settings: Settings) -> Iterator[None]:
    """Keep the port open while every ingress replica is dead; see `serve_app.doorway`."""
    from serve_app.main import session_name  # noqa: PLC0415 - it imports ray

    doorstop = Doorstop.put(session_name(), settings.host, settings.port)
    try:
        yield
    finally:
        if doorstop is not None:
            doorstop.close()


def _model_of(config: dict[str, Any]) -> str | None:
    """The model that a config names, if it names one."""
    models = ((application.get("args") or {}).get("model") for application in config["applications"])
    return next((model for model in models if model), None)


def _stop_on_signals(stop: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def check_port(host: str, port: int, variable: str, patience_s: float = 0.0) -> None:
    """StartError when something still listens on the port after `patience_s` seconds.

    Ingress replicas share it through SO_REUSEPORT, so a second service would steal half the requests.
    """
    deadline = time.monotonic() + patience_s
    while (error := _bind_error(host, port)) is not None:
        if time.monotonic() >= deadline:
            raise StartError(
                f"port {port} on {host} cannot be used ({error.strerror}); "
                f"choose another: {variable}={port + 1} face-api serve"
            ) from error
        time.sleep(0.2)


def _bind_error(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


@contextlib.contextmanager
def _pid_file(path: Path) -> Iterator[bool]:
    """Hold the file while we run; yields whether an earlier service left it, so its replicas may linger.

    Ray ends them some seconds after a `kill -9` of the launcher.
    """
    was_killed = path.exists() and not _holds(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    try:
        yield was_killed
    finally:
        path.unlink(missing_ok=True)


def _holds(path: Path) -> bool:
    """Whether the process that wrote the file is still there."""
    try:
        return is_alive(int(path.read_text()))
    except ValueError:
        return False


def base_url(settings: Settings) -> str:
    """Where a client on this machine reaches the service."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
    return f"http://{host}:{settings.port}"


@contextlib.contextmanager
def _counting(settings: Settings) -> Iterator[None]:
    """Begin to count from nothing, and leave nothing; see `deployments.tally`."""
    remove_abandoned()
    remove_tallies(settings.metrics_port)  # of a service that was killed
    TALLY.publish(settings.metrics_port, "Launcher")
    try:
        yield
    finally:
        remove_tallies(settings.metrics_port)


@contextlib.contextmanager
def _log_pipe(settings: Settings) -> Iterator[None]:
    """Copy what replicas log to our standard error; see `deployments.logs`."""
    path = (settings.data_dir / "log.pipe").resolve()
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    pipe = os.open(path, os.O_RDWR)  # for writing too: it must not end when the last replica does
    ended = threading.Event()

    def copy() -> None:
        while select.select([pipe], [], [], LOG_POLL_S)[0] or not ended.is_set():
            if select.select([pipe], [], [], 0)[0]:
                sys.stderr.buffer.write(os.read(pipe, 2**16))
                sys.stderr.buffer.flush()
                ended.wait(LOG_GATHER_S)

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    os.environ[logs.PIPE] = str(path)
    logs.configure()
    try:
        yield
    finally:
        ended.set()
        copier.join(1.0)
        os.close(pipe)
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[None]:
    """The configured database, checked; else one of our own. Replicas find it in their environment."""
    if settings.database is not None:
        _reach(settings.database)
        yield
        return
    if settings.database_url is not None:
        if settings.api_key_enabled:
            raise StartError(
                f"FACE_API_DATABASE_URL={OFF} leaves no place for API keys; "
                "set FACE_API_API_KEY_ENABLED=false as well to serve everybody"
            )
        yield
        return
    postgres = EmbeddedPostgres(settings.postgres_dir)
    try:
        url = postgres.start()
        credentials = asyncio.run(first_start(url, settings, base_url(settings)))
        os.environ["FACE_API_DATABASE_URL"] = url
        if settings.admin_password is None:
            os.environ["FACE_API_ADMIN_PASSWORD"] = credentials.admin_password
        yield
    finally:
        postgres.stop()


@contextlib.contextmanager
def _objects(settings: Settings, has_storage: bool) -> Iterator[None]:
    """An S3 server of our own, where one is wanted. Replicas find it in their environment."""
    if not has_storage:
        yield
        return
    s3 = EmbeddedS3(settings.objects_dir)
    try:
        options = s3.start()
        os.environ |= {"FACE_API_STORAGE_ENABLED": "true", **environment_of(options)}
        yield
    finally:
        s3.stop()


def _reach(url: str) -> None:
    try:
        asyncio.run(migrate(url))
    except DatabaseUnavailableError as error:
        reason = error.__cause__ or error
        raise StartError(
            f"the database cannot be reached ({type(reason).__name__}: {reason}); "
            "check FACE_API_DATABASE_URL, or unset it to use the embedded PostgreSQL"
        ) from error


def _deploy(config: dict[str, Any], model: str) -> Running:
    import ray  # noqa: PLC0415 - after its switches are set
    from ray.serve._private.api import serve_start  # noqa: PLC0415

    for name in ("ray", "ray.serve"):  # what their start has to say is not for the operator
        logging.getLogger(name).setLevel(logging.ERROR)
    cores = os.cpu_count() or 1
    ray.init(
        address="local",
        num_cpus=max(4, cores),  # placement units, not threads: replicas must never wait for a core
        include_dashboard=False,
        namespace="serve",
        object_store_memory=100 * 2**20,  # pictures travel in shared memory of our own
        logging_level=logging.ERROR,
        log_to_driver=False,  # our own lines come through the log pipe
    )
    address = ray.get_runtime_context().gcs_address
    running = Running(os.getpid(), address, os.environ["RAY_AUTH_TOKEN"], model, uuid.uuid4().hex[:8])
    running.add_args(config)
    serve_start(proxy_location=config.get("proxy_location"))
    rollout.apply(config)
    return running


def _wait_until_ready(settings: Settings, stop: threading.Event) -> None:
    from ray import serve as ray_serve  # noqa: PLC0415

    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and not stop.wait(0.25):
        for application in ray_serve.status().applications.values():
            if application.status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                raise StartError(f"a stage failed to start: {reason(application)}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{base_url(settings)}/readyz", timeout=10).status_code == 200:
                return
    if not stop.is_set():
        raise StartError(f"the service was not ready after {READY_TIMEOUT_S:.0f} s; see {RAY_LOGS}")


def _health(settings: Settings) -> dict[str, Any]:
    health: dict[str, Any] = httpx.get(f"{base_url(settings)}/health", timeout=10).json()
    return health


def _welcome(settings: Settings, licence: str, model: str, *, has_storage: bool) -> str:
    url, header = base_url(settings), ""
    lines = [
        f"\n[bold green]ready[/]  {url}",
        f"model   {model} ({licence})",
        f"console {url}/console",
        f"docs    {url}/docs",
    ]
    if settings.database_url is None:
        lines.append(f"admin   {settings.admin_user}; password and API key: {settings.credentials_file}")
    if has_storage:
        kept = f"originals and results in {settings.objects_dir}"
        lines.append(f"kept    {kept} (FACE_API_STORAGE_ENABLED=false keeps none)")
    if settings.api_key_enabled:
        header = '-H "X-API-Key: $KEY" '
        lines.append(f"key     {_key_line(settings)}")
    lines += [
        f"try     curl {header}-F image=@photo.jpg {url}/api/v1/detect",
        f"        curl {header}-F image=@photo.jpg {url}/api/v1/mask -o masked.jpg",
        "Ctrl-C stops it.\n",
    ]
    return "\n".join(lines)


def _key_line(settings: Settings) -> str:
    """A shell line that sets KEY; the key itself stays out of terminals and their logs."""
    if settings.database_url is not None:
        return "KEY=$(face-api keys create NAME)"
    return f"""KEY=$(sed -n 's/.*"api_key": "\\(.*\\)".*/\\1/p' {settings.credentials_file})"""


def _shut_down(drain_s: float) -> None:
    """End the ingress, which answers what it accepted, then Serve and Ray.

    Whatever hangs is left behind after STOP_TIMEOUT_S, to be killed by Ray's reaper.
    """
    if "ray" not in sys.modules:
        return
    import ray  # noqa: PLC0415
    from ray import serve as ray_serve  # noqa: PLC0415

    from serve_app.main import session_name  # noqa: PLC0415

    if not ray.is_initialized():
        return
    session = session_name()
    if lost_ray.dead_part() is not None:  # whoever asks it for anything waits a minute, and is aborted
        lost_ray.kill_rest()
        remove_calls_folder(session)
        return

    def end() -> None:
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # the controller ends while it is asked to
        with contextlib.suppress(Exception):
            ray_serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()

    with contextlib.suppress(Exception):  # whatever is wrong with Serve, end it
        rollout.drain(drain_s + DRAIN_MARGIN_S)
    ender = threading.Thread(target=end, daemon=True)
    ender.start()
    ender.join(STOP_TIMEOUT_S)
    remove_calls_folder(session)


__all__ = ["DEFAULT_CONFIG", "ModelError", "StartError", "serve"]
