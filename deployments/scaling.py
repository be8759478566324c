"""Autoscaling by what stages really have to do: named as `policy` in a Ray config (configs/autoscaling.yaml).

Ray Serve copies this module into its controller, so it imports nothing of ours.
"""

from typing import Any, Final

IN_FLIGHT_KEY: Final = "in_flight"
"""Under this name replicas tell Ray Serve's controller; see `deployments.load`."""


def by_pictures_in_flight(context: Any) -> tuple[float, dict[str, Any]]:  # noqa: ANN401 - Ray's AutoscalingContext
    """How many replicas there should be, so that each has `target_ongoing_requests` pictures.

    Replicas report the mean number of pictures that waited or were at work in them; Ray Serve averages over
    `look_back_period_s`, and applies delays, factors and bounds of the config to the answer.
    """
    by_replica = (context.aggregated_metrics or {}).get(IN_FLIGHT_KEY)
    if not by_replica:
        return float(context.target_num_replicas), {}  # nobody has reported yet
    return sum(by_replica.values()) / context.config.target_ongoing_requests, {}
