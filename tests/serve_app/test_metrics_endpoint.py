import os
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from deployments.metrics import BATCH_SIZE, Histogram
from deployments.pipeline import LocalPipeline
from deployments.tally import ProcessTally, Series, Tally, remove_tallies
from loadtests.scrape import Scrape
from serve_app.app import create_app
from serve_app.metrics import DATABASE_UP, REQUESTS, REQUESTS_IN_FLIGHT
from serve_app.metrics_endpoint import families, metrics_app
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger

PORT = 64_000 + os.getpid() % 500


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    remove_tallies(PORT)
    yield
    remove_tallies(PORT)


@pytest.fixture
async def endpoint() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(metrics_app(PORT))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


def process(pid: int, *series: Series) -> ProcessTally:
    return ProcessTally(pid, "Test", list(series))


def sample(living: list[ProcessTally], ended: list[Series], name: str) -> list[float]:
    return [s.value for family in families(living, ended) for s in family.samples if s.name == name]


def test_counters_of_the_dead_count_and_their_gauges_do_not() -> None:
    labels = ("/x", "200", "")
    living = [
        process(0, Series(REQUESTS.name, labels, (2.0,)), Series(REQUESTS_IN_FLIGHT.name, (), (1.0,))),
        process(0, Series(REQUESTS.name, labels, (3.0,)), Series(REQUESTS_IN_FLIGHT.name, (), (4.0,))),
    ]
    ended = [Series(REQUESTS.name, labels, (10.0,)), Series(REQUESTS_IN_FLIGHT.name, (), (100.0,))]
    assert sample(living, ended, "face_api_requests_total") == [15.0]
    assert sample(living, ended, "face_api_requests_in_flight") == [5.0]


def test_one_replica_without_its_database_is_enough_to_say_so() -> None:
    living = [process(0, Series(DATABASE_UP.name, (), (up,))) for up in (1.0, 0.0, 1.0)]
    assert sample(living, [], "face_api_database_up") == [0.0]


def test_histograms_are_added_bucket_by_bucket_and_others_of_another_version_left_out() -> None:
    tally = Tally()
    histogram = Histogram(BATCH_SIZE.name, "", buckets=BATCH_SIZE.buckets, tally=tally)
    for size in (1, 2, 2, 100):
        histogram.observe(size)
    old = Series(BATCH_SIZE.name, (), (5.0, 1.0))
    found = [process(0, *tally.read()), process(0, *tally.read()), process(0, old)]
    assert sample(found, [], "face_api_batch_size_count") == [8.0]
    assert sample(found, [], "face_api_batch_size_sum") == [210.0]
    assert sample(found, [], "face_api_batch_size_bucket")[:2] == [2.0, 6.0]


def test_a_metric_nobody_knows_any_more_is_left_out() -> None:
    assert families([process(0, Series("face_api_gone_total", (), (1.0,)))], []) == []


async def test_every_process_shows_its_processor_time_and_memory(endpoint: httpx.AsyncClient) -> None:
    Tally().publish(PORT, "Me")
    found = Scrape.parse((await endpoint.get("/metrics")).text)
    assert found.total("face_api_process_memory_bytes", deployment="Me", pid=str(os.getpid())) > 10 * 2**20
    assert found.total("face_api_process_cpu_seconds_total", deployment="Me") > 0


async def test_both_text_formats_are_spoken_and_nothing_else_is_there(endpoint: httpx.AsyncClient) -> None:
    Tally().publish(PORT, "Me")
    plain = await endpoint.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    modern = await endpoint.get("/metrics", headers=accept)
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")
    assert (await endpoint.get("/")).status_code == 404
    assert (await endpoint.post("/metrics")).status_code == 404


async def test_every_answer_is_counted_once_with_its_reason(pipeline: LocalPipeline, here: object) -> None:
    from deployments.tally import TALLY

    def counted() -> dict[tuple[str, ...], float]:
        return {s.labels: s.values[0] for s in TALLY.read() if s.metric == REQUESTS.name}

    settings = Settings(
        api_key_enabled=False, max_upload_bytes=200_000, rate_limit_mask="1/hour", admin_password="x"
    )
    app = create_app(settings, pipeline, LocalLedger(settings))
    before = counted()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        jpeg = {"Content-Type": "image/jpeg"}
        await http.post("/api/v1/detect", content=b"x", headers=jpeg)
        await http.post("/api/v1/detect", content=b"x" * 200_001, headers=jpeg)
        await http.post("/api/v1/detect?confidence=9", content=b"x", headers=jpeg)
        for _ in range(3):
            await http.post("/api/v1/mask", content=b"", headers=jpeg)
        await http.get("/nowhere")
        await http.put("/livez")
        await http.get("/livez")
        await http.get("/api/v1/admin/stats")
    new = {labels: count - before.get(labels, 0.0) for labels, count in counted().items()}
    assert {labels: count for labels, count in new.items() if count} == {
        ("/api/v1/detect", "415", "unsupported_format"): 1,
        ("/api/v1/detect", "413", "body_too_large"): 1,
        ("/api/v1/detect", "422", "invalid_parameter"): 1,
        ("/api/v1/mask", "400", "empty_upload"): 1,
        ("/api/v1/mask", "429", "rate_limited"): 2,
        ("other", "404", "no_such_path"): 1,
        ("/livez", "405", "method_not_allowed"): 1,
        ("/livez", "200", ""): 1,
        ("/api/v1/admin/stats", "501", "tier_off"): 1,
    }
