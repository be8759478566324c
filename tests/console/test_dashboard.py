"""The dashboard: how the service is, how much it did, and that it follows by itself."""

import httpx
from playwright.sync_api import expect

from tests.console.conftest import Console, Filled
from tests.console.pictures import red_picture
from tests.serving.conftest import Service


def test_it_shows_the_service_its_tiers_and_its_model(
    console: Console, session: str, filled: Filled, admin: httpx.Client
) -> None:
    health = admin.get("/health").json()
    page = console.open(session=session)
    expect(page.get_by_role("heading", name="All systems work")).to_be_visible()
    tiers = page.get_by_role("list", name="Tiers")
    for name in ("Detection", "Database", "Storage"):
        expect(tiers.get_by_role("listitem").filter(has_text=name)).to_contain_text("ready")
    model = page.locator("dl")
    for shown in (health["model"], health["provider"], health["model_licence"], "640 × 640"):
        expect(model).to_contain_text(shown)


def test_its_numbers_are_those_of_the_api(
    console: Console, session: str, filled: Filled, admin: httpx.Client
) -> None:
    stats = admin.get("/api/v1/admin/stats").json()
    page = console.open(session=session)
    tiles = page.locator(".tile")
    for label, value in (
        ("Images stored", stats["total_images"]),
        ("Jobs", stats["total_jobs"]),
        ("Faces found", stats["total_faces_detected"]),
    ):
        expect(tiles.filter(has_text=label).locator("strong")).to_have_text(f"{value:,}")
    methods = page.locator("section").filter(has=page.get_by_role("heading", name="Masking methods"))
    for method, count in stats["jobs_by_method"].items():
        expect(methods.get_by_role("listitem").filter(has_text=method.capitalize())).to_contain_text(
            str(count)
        )


def test_storage_is_told_apart_by_kind(
    console: Console, session: str, filled: Filled, admin: httpx.Client
) -> None:
    kinds = admin.get("/api/v1/admin/stats").json()["storage_by_kind"]
    page = console.open(session=session)
    panel = page.locator("section").filter(has=page.get_by_role("heading", name="Storage by kind"))
    total = sum(kinds.values())
    for name, kind in (("Originals", "originals"), ("Masked pictures", "results")):
        row = panel.get_by_role("listitem").filter(has_text=name)
        expect(row).to_contain_text(f"{100 * kinds[kind] / total:.0f} %")


def test_jobs_per_hour_are_drawn_and_told_to_screen_readers(
    console: Console, session: str, filled: Filled, admin: httpx.Client
) -> None:
    page = console.open(session=session)
    expect(page.get_by_role("img", name="Bar chart of jobs per hour")).to_be_visible()
    rows = page.get_by_role("table", name="Jobs per hour").locator("tbody tr")
    expect(rows).to_have_count(24)
    hours = admin.get("/api/v1/admin/stats/hourly").json()["hours"]
    assert len(hours) == 24
    told = [[int(cell) for cell in row.locator("td").all_inner_texts()[1:]] for row in rows.all()]
    assert told == [[hour["detect"], hour["mask"]] for hour in hours]
    assert sum(map(sum, told)) >= len(filled.job_ids)
    drawn = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"
    )
    page.wait_for_function(f"() => ({drawn})(document.querySelector('canvas'))")


def test_it_follows_by_itself(console: Console, session: str, filled: Filled, service: Service) -> None:
    page = console.open(session=session)
    jobs = page.locator(".tile").filter(has_text="Jobs").locator("strong")
    expect(jobs).to_have_text("30")
    answer = httpx.post(
        f"{service.url}/api/v1/mask",
        content=red_picture(),
        headers={"X-API-Key": service.api_key, "Content-Type": "image/png"},
        timeout=60,
    )
    assert answer.headers["x-job-id"]
    expect(jobs).to_have_text("31")
    image_id = answer.headers["x-image-id"]
    auth = service.credentials["admin_user"], service.credentials["admin_password"]
    gone = httpx.delete(f"{service.url}/api/v1/admin/images/{image_id}", auth=auth, timeout=60)
    assert gone.status_code == 204
    expect(jobs).to_have_text("30")
