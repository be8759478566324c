"""What every replica does first: its log and metrics go where ours go, and its port stays on this machine."""

import contextlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from deployments import logs, tracing
from deployments.heap import give_back_regularly
from deployments.metrics import REPLICAS
from deployments.tally import TALLY

LOOPBACK: Final = "127.0.0.1"
STAGES: Final = frozenset({"Decoder", "Detector", "Masker"})
NICE: Final = 2
"""Two thirds of the weight that the ingress has, and any other program."""
HEALTH_CHECK_PERIOD_S: Final = 2.0
"""Ray Serve sees only then that a replica was killed; its own 10 s are most of the time without it."""


def set_up_replica(deployment: str, metrics_port: int) -> None:
    """Call it in a deployment's constructor: Ray Serve opens the replica's port after that.

    Args:
        deployment: Its name.
        metrics_port: Of the endpoint that shows this replica's metrics; 0: none.

    Raises:
        AttributeError: This Ray opens its port in another way; the port would be public, so do not start.
    """
    logs.configure()
    tracing.configure(deployment)
    TALLY.publish(metrics_port, deployment)
    REPLICAS.set(1, deployment)
    _keep_local()
    if deployment in STAGES:
        _step_back()
        give_back_regularly()


def _step_back() -> None:
    """Let the ingress go first where processors are short: refusing late costs more than computing late."""
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)


def _keep_local() -> None:
    """Keep the port between replicas off the network when the Ray node itself is on 127.0.0.1 only.

    Ray binds its own servers to the node's address, but Ray Serve 2.60 opens each replica's gRPC port on all
    interfaces, and what arrives there is unpickled. There is no setting for it.
    """
    replica: Any = import_module("ray.serve._private.replica")
    ray_util: Any = import_module("ray.util")
    original = replica.add_port_to_grpc_server
    if ray_util.get_node_ip_address() != LOOPBACK:
        return

    def add_local_port(server: object, address: str) -> int:
        port: int = original(server, address.replace("[::]:", f"{LOOPBACK}:"))
        return port

    replica.add_port_to_grpc_server = add_local_port
