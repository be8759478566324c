"""What one replica lets through on its own while the ledger is away."""

from collections.abc import Mapping
from dataclasses import replace

from serve_app.ratelimit.decision import Decision
from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.subjects import Subjects


class LocalShare:
    """The limit divided by the number of replicas, at least 1.

    Its counts outlive an outage, so that a ledger which comes and goes does not open the door each time.
    """

    def __init__(self, limits: Mapping[str, RateLimit | None], most_subjects: int) -> None:
        self._limits = {route: limit for route, limit in limits.items() if limit is not None}
        self._most_subjects = most_subjects
        self._replicas = 0
        self._routes: dict[str, Subjects] = {}
        self.divide(1)

    def divide(self, replicas: int) -> None:
        """Share with so many replicas from now on; what was counted is forgotten when the number changed."""
        if replicas == self._replicas:
            return
        self._replicas = replicas
        most = self._most_subjects // max(1, len(self._limits))
        self._routes = {
            route: Subjects(replace(limit, count=max(1, limit.count // replicas)), most)
            for route, limit in self._limits.items()
        }

    def take(self, route: str, subject: str, now_s: float) -> Decision:
        """Count one request."""
        window = self._routes[route].active(subject, now_s)
        allowed = window.take(1, now_s) == 1
        reset_s = window.reset_s(now_s)
        limit = self._limits[route].count
        return Decision(allowed, limit, window.remaining(now_s), reset_s, 0.0 if allowed else reset_s)
