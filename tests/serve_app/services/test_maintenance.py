from types import SimpleNamespace
from typing import Any

from deployments.tally import TALLY
from serve_app.repositories.cleanup import Backlog
from serve_app.services.maintenance import Maintenance


async def test_what_waits_to_be_removed_is_shown() -> None:
    async def is_ready() -> bool:
        return False

    async def count_and_oldest() -> Backlog:
        return Backlog(3, 61.5)

    nothing: Any = SimpleNamespace()
    objects: Any = SimpleNamespace(is_ready=is_ready)
    cleanup: Any = SimpleNamespace(count_and_oldest=count_and_oldest)
    await Maintenance(nothing, nothing, cleanup, objects, None).look()
    shown = {series.metric: series.values[0] for series in TALLY.read() if not series.labels}
    assert shown["face_api_storage_up"] == 0
    assert shown["face_api_cleanup_tasks"] == 3
    assert shown["face_api_cleanup_oldest_seconds"] == 61.5
