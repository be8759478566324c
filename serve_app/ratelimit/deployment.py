"""The ledger as a Ray Serve deployment, and the way to it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from serve_app.ratelimit.lease import Grants, Order
from serve_app.ratelimit.ledger import Ledger
from serve_app.ratelimit.limit import RateLimit


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
class Limiter:
    """Counts for all ingress replicas. Always a single replica: two would each allow the whole limit."""

    def __init__(self, limits: Mapping[str, RateLimit | None], *, metrics_port: int) -> None:
        set_up_replica("Limiter", metrics_port)
        self._ledger = Ledger(limits)

    async def take(self, order: Order) -> Grants:
        """As Ledger.take."""
        return self._ledger.take(order)


class ServeLedger:
    """The Limiter behind a Ray Serve handle; lives in the ingress replica."""

    def __init__(self, limiter: DeploymentHandle[Any]) -> None:
        self._limiter = limiter

    async def take(self, order: Order) -> Grants:
        """As Ledger.take; a call nobody waits for any more is cancelled."""
        response: Any = self._limiter.take.remote(order)
        try:
            grants: Grants = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        return grants
