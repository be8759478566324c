"""Jobs: the table, its filters in the address, and what one job found."""

import json

import httpx
import pytest
from playwright.sync_api import expect

from tests.console.conftest import Console, Filled
from tests.console.test_images import wait_for_pictures


def test_filters_are_in_the_address(
    console: Console, session: str, filled: Filled, admin: httpx.Client
) -> None:
    page = console.open("/jobs", session=session)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(30)
    page.get_by_label("Type").select_option("detect")
    expect(rows).to_have_count(6)
    assert page.url.endswith("/console/jobs?job_type=detect")
    page.get_by_label("Method").select_option("pixelate")
    total = admin.get("/api/v1/admin/jobs", params={"method": "pixelate"}).json()["total"]
    expect(rows).to_have_count(total)
    assert page.url.endswith("/console/jobs?method=pixelate")
    page.reload()
    expect(rows).to_have_count(total)
    expect(page.get_by_label("Method")).to_have_value("pixelate")
    page.go_back()
    expect(rows).to_have_count(6)
    page.get_by_role("link", name="Clear the filters").click()
    expect(rows).to_have_count(30)


def test_filters_that_no_job_matches_say_so(console: Console, session: str, filled: Filled) -> None:
    page = console.open("/jobs?job_type=detect&method=solid", session=session)
    expect(page.get_by_text("No job matches these filters.")).to_be_visible()


def test_a_row_opens_its_job(console: Console, session: str, filled: Filled) -> None:
    page = console.open("/jobs", session=session)
    page.locator("tbody tr").nth(2).locator("td").nth(3).click()
    expect(page.get_by_role("heading", name="Mask job")).to_be_visible()
    assert page.url.endswith(filled.job_ids[-3])


@pytest.mark.parametrize("index", [2, 4])
def test_a_job_shows_its_faces_over_the_picture(
    console: Console, session: str, filled: Filled, admin: httpx.Client, index: int
) -> None:
    job = admin.get(f"/api/v1/admin/jobs/{filled.job_ids[index]}").json()
    page = console.open(f"/jobs/{job['id']}", session=session)
    wait_for_pictures(page, ".frame img")
    faces = page.locator(".frame [data-face]")
    expect(faces).to_have_count(job["face_count"])
    assert job["face_count"] == 1 + index % 3
    expect(faces.first.locator("circle")).to_have_count(5)
    expect(faces.first).to_contain_text(f"{job['detections'][0]['confidence']:.2f}")
    box = page.locator(".frame .box").first.bounding_box()
    frame = page.locator(".frame").bounding_box()
    assert box is not None
    assert frame is not None
    scale = frame["width"] / 640
    assert box["x"] - frame["x"] == pytest.approx(job["detections"][0]["bbox"]["x1"] * scale, abs=3)
    assert box["y"] - frame["y"] == pytest.approx(job["detections"][0]["bbox"]["y1"] * scale, abs=3)
    page.get_by_label("Landmarks").uncheck()
    expect(page.locator(".frame circle")).to_have_count(0)
    timings = page.get_by_role("table", name="Milliseconds of each stage")
    expect(timings).to_contain_text(f"{job['inference_ms']:.2f} ms")
    expect(timings).to_contain_text(f"{job['total_ms']:.2f} ms")
    page.locator("summary").click()
    assert json.loads(page.locator("pre").inner_text())["detections"] == job["detections"]


def test_the_result_can_be_seen_and_saved(console: Console, session: str, filled: Filled) -> None:
    page = console.open(f"/jobs/{filled.job_ids[2]}", session=session)
    page.get_by_role("button", name="Result", exact=True).click()
    wait_for_pictures(page, ".frame img[alt=Result]")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result").click()
    assert download.value.suggested_filename == f"{filled.job_ids[2]}.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
