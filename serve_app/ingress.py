"""The ingress as a Ray Serve deployment: our own HTTP server in front of the pipeline.

Ray Serve's HTTP proxy is off. It would answer some failures in plain text, add a second X-Request-ID,
read bodies without a bound, and hide the client's address; see DECISIONS.md. Replicas on one machine
share the port through SO_REUSEPORT; on several machines each listens on its own.
"""

import asyncio
import contextlib
import socket
from importlib.metadata import version
from typing import Any

import uvicorn
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from deployments import tracing
from deployments.calls import Caller
from deployments.pipeline import ServePipeline, Stage
from deployments.replica import set_up_replica
from serve_app import metrics
from serve_app.app import create_app
from serve_app.http_protocol import EnvelopeProtocol
from serve_app.metrics_endpoint import metrics_app
from serve_app.ratelimit.deployment import ServeLedger
from serve_app.settings import Settings

BACKLOG = 2048


@serve.deployment
class Ingress:
    """Listens on the public port and hands uploads to the pipeline."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self,
        settings: Settings,
        decoder: DeploymentHandle[Any],
        detector: DeploymentHandle[Any],
        masker: DeploymentHandle[Any],
        limiter: DeploymentHandle[Any],
        _maintenance: DeploymentHandle[Any],  # works by itself; named here so that Ray starts it
        *,
        session: str,
    ) -> None:
        set_up_replica("Ingress", settings.metrics_port)
        metrics.BUILD.set(1, version("face-api"))
        pipeline = ServePipeline(
            *(
                Stage(name, handle, Caller(session, name))
                for name, handle in {"Decoder": decoder, "Detector": detector, "Masker": masker}.items()
            )
        )
        app = create_app(settings, pipeline, ServeLedger(limiter))
        self._servers = [await _start(server_config(app, settings), settings.host, settings.port)]
        if settings.metrics_port:
            endpoint = server_config(metrics_app(settings.metrics_port), settings)
            self._servers.append(await _start(endpoint, settings.metrics_host, settings.metrics_port))

    async def check_health(self) -> None:
        """Fail when an HTTP server has ended, so that Ray replaces this replica."""
        if any(serving.done() for _, serving in self._servers):
            raise RuntimeError("the HTTP server has stopped")

    async def __del__(self) -> None:
        """Stop accepting, answer what was accepted, write what was counted, and close."""
        for server, serving in self._servers:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        tracing.shut_down()


async def _start(config: uvicorn.Config, host: str, port: int) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    """A server that answers, and the task it runs in."""
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listen(host, port)]))
    while not server.started:
        if serving.done():
            serving.result()
            raise RuntimeError("the HTTP server stopped while starting")
        await asyncio.sleep(0.01)
    return server, serving


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs: no banner, no access log of its own, no trust in forwarded headers."""
    return uvicorn.Config(
        app,
        http=EnvelopeProtocol,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=int(settings.request_timeout_s),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that other ingress replicas of this machine may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock
