"""The ingress as a Ray Serve deployment: our own HTTP server in front of the pipeline.

Ray Serve's HTTP proxy is off. It would answer some failures in plain text, add a second X-Request-ID,
read bodies without a bound, and hide the client's address; see DECISIONS.md. Replicas on one machine
share one listening socket (`serve_app.doorway`); on several machines each listens on its own.
"""

import gc
from importlib.metadata import version
from typing import Any, Final

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments import tracing
from deployments.calls import Caller
from deployments.pipeline import ServePipeline
from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from deployments.stage import Stage
from serve_app import metrics
from serve_app.app import create_app
from serve_app.doorway import Doorway
from serve_app.http_server import HttpServer
from serve_app.metrics_endpoint import metrics_app
from serve_app.ratelimit.deployment import ServeLedger
from serve_app.settings import Settings

YOUNG_TO_WHOLE: Final = 100
"""So many collections of the middle generation come before a whole one; Python's own is 10."""


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
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
        drain_s = settings.request_timeout_s
        doorway = await Doorway.open(session, settings.host, settings.port)
        self._servers = [await HttpServer(app, drain_s).start(doorway)]
        if settings.metrics_port:
            doorway = await Doorway.open(session, settings.metrics_host, settings.metrics_port)
            self._servers.append(await HttpServer(metrics_app(settings.metrics_port), drain_s).start(doorway))
        _spare_the_collector()

    async def check_health(self) -> None:
        """Fail when an HTTP server has ended, so that Ray replaces this replica."""
        if any(server.has_ended for server in self._servers):
            raise RuntimeError("the HTTP server has stopped")

    async def __del__(self) -> None:
        """Stop accepting, answer what was accepted, write what was counted, and close."""
        for server in self._servers:
            await server.stop()
        tracing.shut_down()


def _spare_the_collector() -> None:
    """Have whole collections seldom, and without what was there at the start: modules, routes, models.

    One takes 0.1 s with 10,000 connections, in which nothing is answered; a crowd that comes and goes caused
    one every other second. Requests leave their garbage to the collections of what is young.
    """
    gc.collect()
    gc.freeze()
    youngest, middle, _ = gc.get_threshold()
    gc.set_threshold(youngest, middle, YOUNG_TO_WHOLE)
