"""The OpenAPI document tells the truth: schemathesis tries it out, with good and bad data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import PROJECT, Service

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(240)]


LOGIN = "/api/v1/admin/auth/login"


# Failed logins lock the address out, which would end the game for every other route: they come last.
@pytest.mark.parametrize("selection", [("--exclude-path", LOGIN), ("--include-path", LOGIN)])
def test_no_request_gets_a_5xx_or_an_undocumented_answer(
    service: Service, tmp_path: Path, selection: tuple[str, str]
) -> None:
    credentials = service.credentials
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        *("run", f"{service.url}/openapi.json"),
        *selection,
        *("--checks", "all"),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-examples", "15"),
        *("--seed", "1"),
        *("--generation-database", "none"),
        *("--header", f"X-API-Key: {service.api_key}"),
        *("--auth", f"{credentials['admin_user']}:{credentials['admin_password']}"),
        *("--request-timeout", "20"),
        "--continue-on-failure",
        "--no-color",
    ]
    hooks = str(PROJECT / "tests/serving/schemathesis_hooks.py")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": hooks},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
