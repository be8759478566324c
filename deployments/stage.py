"""A stage as the ingress calls it."""

import asyncio
import json
import logging
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.calls import CalleeLostError, Caller
from deployments.deadline import Deadline
from deployments.errors import DeadlineExceededError, OverloadedError, StageLostError
from deployments.metrics import STAGE_LOST
from models.errors import FaceError

logger = logging.getLogger("face_api.pipeline")


class Stage:
    """One stage as the ingress calls it: straight where a replica is on this host, else through Ray."""

    def __init__(self, deployment: str, handle: DeploymentHandle[Any], caller: Caller) -> None:
        self._deployment = deployment
        STAGE_LOST.expect(deployment)
        self._handle = handle
        self._caller = caller

    @property
    def replicas(self) -> int:
        """How many there are on this host, at least 1."""
        return self._caller.callees or 1

    async def ask(self, method: str, deadline: Deadline, *arguments: object) -> Any:  # noqa: ANN401 - the method's own
        """A method's answer; errors it returned as values are raised here.

        Whoever stops waiting, because of the deadline or a client that left, cancels the work. The stage
        hears of it too late at times, and its answer is lost; what it sent goes with the request's locker.
        """
        try:
            async with asyncio.timeout(max(deadline.left_s, 0.0)):
                if await self._caller.finds_callee():
                    value = await self._caller.call(method, *arguments)
                else:
                    value = await self._through_ray(method, arguments)
        except TimeoutError as error:
            raise DeadlineExceededError(
                "the request's deadline passed before its result was ready"
            ) from error
        except BackPressureError as error:
            raise OverloadedError("the service is at its limit; try again shortly") from error
        except (CalleeLostError, RayError, RayServeException) as error:
            STAGE_LOST.inc(self._deployment)
            event = {"event": "a call of a stage failed", "deployment": self._deployment}
            logger.warning(json.dumps({**event, "reason": type(error).__name__}))
            raise StageLostError("a stage of the service is restarting; try again shortly") from error
        if isinstance(value, FaceError):
            raise value
        return value

    async def _through_ray(self, method: str, arguments: tuple[object, ...]) -> Any:  # noqa: ANN401 - see above
        response = getattr(self._handle, method).remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
