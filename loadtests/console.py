"""How soon the console's lists are usable over very many images: from a click, and from an empty tab.

    FACE_API_DATA_DIR=var .venv/bin/python -m loadtests.console --image photo.jpg --count 100000

Needs a running `face-api serve` of this folder, with storage, and Debian's Chromium. Adds the rows to the
database (all of them share one object), so give it a data folder of its own.
"""

import argparse
import asyncio
import json
import shutil
import statistics
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from playwright.sync_api import Page, sync_playwright

from serve_app.maintenance_cli import stored_settings
from serve_app.settings import Settings
from serve_app.storage.objects import ObjectStore
from serve_app.storage_tier import storage_options

ROUNDS: Final = 5
PER_PAGE: Final = 24
KEY_ID: Final = "00000000-0000-4000-8000-000000000000"
MAKE_IMAGES: Final = """
INSERT INTO images (id, filename, content_type, size_bytes, width, height, s3_key, created_at)
SELECT md5('console' || i)::uuid, 'picture ' || i || '.jpg', 'image/jpeg', $2, 1920, 1080, $3,
       now() - i * interval '1 s'
FROM generate_series(1, $1::int) AS i
"""
MAKE_JOBS: Final = """
INSERT INTO processing_jobs (
    id, image_id, job_type, status, confidence_threshold, nms_threshold, blur_method, blur_strength, padding,
    output_format, output_quality, face_count, detections, processed_s3_key, processed_size_bytes,
    inference_ms, total_ms, created_at
)
SELECT md5('job' || i)::uuid, md5('console' || i)::uuid, 'mask', 'completed', 0.5, 0.4,
       (ARRAY['gaussian', 'pixelate', 'solid', 'elliptical'])[1 + i % 4], 199, 0.15,
       'jpeg', 95, 2, '[]', $3, $2, 5, 20, now() - i * interval '1 s'
FROM generate_series(1, $1::int) AS i
"""
# Milliseconds from a click until the list is there, and until what the window shows of its pictures is.
MEASURE: Final = """async ([href, selector]) => {
  const seen = image => {
    const box = image.getBoundingClientRect()
    return box.top < innerHeight && box.bottom > 0
  }
  const frame = () => new Promise(done => requestAnimationFrame(done))
  const started = performance.now()
  const link = document.createElement('a')
  link.href = href
  document.querySelector('main').append(link)
  link.click()
  const rows = () => [...document.querySelectorAll(selector)]
  const isNew = () => new URL(href, location).href === location.href && rows().length > 0
    && !document.querySelector('[aria-busy=true]')
  while (!isNew()) await frame()
  await frame()
  const usable = performance.now() - started
  const images = () => [...document.querySelectorAll('main img')].filter(seen)
  while (!images().every(image => image.complete)) await frame()
  return [usable, performance.now() - started]
}"""


async def seed(settings: Settings, data: bytes, count: int) -> None:
    """So many images, each with a job and a result."""
    objects = ObjectStore(storage_options(settings))
    await objects.open()
    original, result = f"originals/{KEY_ID}/seed.jpg", f"processed/{KEY_ID}/{KEY_ID}.jpeg"
    for key in (original, result):
        await objects.put(key, data, "image/jpeg")
    await objects.close()
    connection = await asyncpg.connect(settings.database)
    await connection.execute(MAKE_IMAGES, count, len(data), original)
    await connection.execute(MAKE_JOBS, count, len(data), result)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def from_a_click(page: Page, href: str, selector: str) -> tuple[float, float]:
    """Medians in milliseconds: until the list is usable, until its pictures in the window are there."""
    rounds = []
    for _ in range(ROUNDS):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="API keys").click()
        page.wait_for_selector("h1:has-text('API keys')")
        rounds.append(page.evaluate(MEASURE, [href, selector]))
    return statistics.median(usable for usable, _ in rounds), statistics.median(full for _, full in rounds)


def from_an_empty_tab(page: Page, url: str, selector: str) -> float:
    """Median in milliseconds until the list is there, the console itself being loaded as well."""
    rounds = []
    for _ in range(ROUNDS):
        page.goto("about:blank")
        page.goto(url, wait_until="commit")
        page.wait_for_selector(selector)
        rounds.append(float(page.evaluate("performance.now()")))
    return statistics.median(rounds)


def measure(url: str, username: str, password: str) -> None:
    """Print a table."""
    path, query = "/api/v1/admin/images", {"per_page": PER_PAGE}
    images = httpx.get(url + path, params=query, auth=(username, password), timeout=60).json()
    last = images["pages"]
    print(f"{images['total']} images")
    targets = [
        ("images, first page", "/images", ".card .name"),
        ("images, middle page", f"/images?page={last // 2}", ".card .name"),
        ("images, last page", f"/images?page={last}", ".card .name"),
        ("jobs, first page", "/jobs", "tbody tr .frame"),
        ("jobs of a method", "/jobs?method=solid", "tbody tr .frame"),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-US")
        page.goto(f"{url}/console")
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password", exact=True).fill(password)
        page.keyboard.press("Enter")
        page.wait_for_selector(".tile")
        print("| list | usable after a click, ms | with its pictures, ms | from an empty tab, ms |")
        print("|---|---|---|---|")
        for name, path, selector in targets:
            usable, full = from_a_click(page, f"/console{path}", selector)
            cold = from_an_empty_tab(page, f"{url}/console{path}", selector)
            print(f"| {name} | {usable:.0f} | {full:.0f} | {cold:.0f} |")
        browser.close()


def main() -> None:
    """Seed and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True, help="shown as every thumbnail")
    parser.add_argument("--count", type=int, default=100_000, help="images to add; 0 = measure what is there")
    options = parser.parse_args()
    with stored_settings() as settings:
        credentials = json.loads(settings.credentials_file.read_text())
        if options.count:
            asyncio.run(seed(settings, options.image.read_bytes(), options.count))
    measure(credentials["url"], credentials["admin_user"], credentials["admin_password"])


if __name__ == "__main__":
    main()
