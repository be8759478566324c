"""Pictures are refused by their heads alone while there is no place for one.

In an overload most requests end here, and each takes time from those that are answered. So the protocol asks,
before it makes a request of the head: the application would take twice the time to say the same.
"""

import json
import time
from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Route

from deployments.errors import OverloadedError
from serve_app.admission import FULL, Admission
from serve_app.errors import reason_of
from serve_app.middleware.request_log import access_logger, count, kept_or_new, line_of
from serve_app.refusal import Refusal

OVERLOADED: Final = Refusal(503, reason_of(OverloadedError()), FULL)
BODY_BYTES: Final = len(OVERLOADED.body())
STATE: Final = "early_refusal"
"""Its name in the state of the lifespan, which is how a protocol gets hold of it."""

Headers = Sequence[tuple[bytes, bytes]]


class EarlyRefusal:
    """What the routes of single pictures answer when the service is full."""

    def __init__(self, admission: Admission, routes: Sequence[BaseRoute]) -> None:
        """Stand before an application.

        Args:
            admission: Of its pictures.
            routes: Whose POST requests bring one picture each.
        """
        self._admission = admission
        self._paths = {route.path.encode(): route.path for route in routes if isinstance(route, Route)}

    def answer(
        self, method: bytes, target: bytes, headers: Headers, default: Headers, *, ends: bool
    ) -> bytes | None:
        """The whole answer to a request that is refused, counted and logged; None: let it through.

        Args:
            method: Of the request.
            target: Of the request, with its query.
            headers: Of the request, names in lower case.
            default: That every answer has.
            ends: Whether the connection ends with it.
        """
        if method != b"POST" or not self._admission.is_full:
            return None
        path = self._paths.get(target.partition(b"?")[0])
        if path is None:
            return None
        began_s = time.perf_counter()
        given = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), None)
        request_id = kept_or_new(given)
        answer = OVERLOADED.as_bytes(request_id, default, ends=ends)
        seconds = time.perf_counter() - began_s
        count(path, OVERLOADED.status, OVERLOADED.reason, seconds)
        line = line_of(request_id, "POST", path, OVERLOADED.status, seconds, BODY_BYTES)
        access_logger.info("%s", json.dumps({**line, "reason": OVERLOADED.reason}))
        return answer
