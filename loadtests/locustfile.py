"""The scenarios as Locust users, with its web page: change the number of users and watch.

    .venv/bin/locust -f loadtests/locustfile.py --host http://127.0.0.1:8000

FACE_API_KEY, and for the users with admin traffic FACE_API_ADMIN_USER and FACE_API_ADMIN_PASSWORD, say who
asks. The service needs storage on and rate limits off. Locust is Python: with small pictures on few cores
it is the bottleneck before the service is, so figures worth keeping come from `python -m loadtests`. Sheds
(429, 503) are shown under a name of their own.
"""

import os
from typing import Any

from locust import HttpUser, constant, task

from loadtests.scenarios import ADMIN_PATHS, Scenario, scenarios
from serve_app.advise.outcome import SHED

SEED = 0


def user_of(scenario: Scenario) -> type[HttpUser]:
    """A user that sends one scenario's requests, one after the other."""

    class Sender(HttpUser):
        wait_time = constant(0)
        abstract = True

        def on_start(self) -> None:
            self.uploads = scenario.uploads(scenario.generated(SEED))
            self.turn = 0
            self.client.headers["X-API-Key"] = os.environ.get("FACE_API_KEY", "")
            if not scenario.keep_alive:
                self.client.headers["Connection"] = "close"

        @task
        def send(self) -> None:
            upload = self.uploads[self.turn % len(self.uploads)]
            self.turn += 1
            headers = {"Content-Type": upload.content_type}
            with self.client.post(
                scenario.path, data=upload.body, headers=headers, name=scenario.name, catch_response=True
            ) as response:
                if response.status_code in SHED:
                    response.failure(f"shed: {response.status_code}")

    members: dict[str, Any] = {"abstract": False, "weight": 1}
    return type(class_name(scenario), (Sender,), members)


def class_name(scenario: Scenario) -> str:
    """A name Python and Locust's web page take: `mask, 12 MP` becomes Mask12MP."""
    return "".join(
        part.capitalize() if part.islower() else part
        for part in scenario.name.replace(",", "").replace(".", "_").split()
    )


class Administrator(HttpUser):
    """Somebody who looks at the console."""

    wait_time = constant(0.1)

    @task
    def look(self) -> None:
        """One look at every page."""
        name = os.environ.get("FACE_API_ADMIN_USER", "admin")
        password = os.environ.get("FACE_API_ADMIN_PASSWORD")
        if password is None:
            self.stop()
            return
        for path in ADMIN_PATHS:
            self.client.get(f"/api/v1/{path}", auth=(name, password), name=path.split("?")[0])


globals().update({class_name(s): user_of(s) for s in scenarios() if not s.admin_rate})
