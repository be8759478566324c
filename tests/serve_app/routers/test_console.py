"""How the console's files are served, how large they are, and that they are where they should be."""

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from serve_app import errors
from serve_app.routers.console import DIST, console_router

PROJECT = Path(__file__).parents[3]
CONSOLE = PROJECT / "serve_app" / "console"
FIRST_LOAD_BYTES = 250_000


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build of two files."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>the page</title>")
    (tmp_path / "assets" / "index-a1b2.js").write_text("console.info('x')" * 100)
    return tmp_path


def client(folder: Path) -> httpx.AsyncClient:
    app, router = FastAPI(), console_router(folder)
    app.include_router(router)
    errors.install(app, router.routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def built() -> Path:
    if not (DIST / "index.html").exists():
        pytest.skip("the console was not built; `make console` builds it")
    return DIST


@pytest.mark.parametrize("path", ["", "/", "/images", "/jobs/1?page=2", "/no/such/page", "/%2e%2e/secret"])
async def test_every_path_is_the_page(build: Path, path: str) -> None:
    async with client(build) as http:
        answer = await http.get(f"/console{path}")
    assert answer.status_code == 200
    assert "the page" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


async def test_nothing_may_frame_it_or_run_in_it_but_its_own_scripts(build: Path) -> None:
    async with client(build) as http:
        headers = (await http.get("/console")).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"


async def test_assets_are_kept_for_good_and_compressed(build: Path) -> None:
    async with client(build) as http:
        answer = await http.get("/console/assets/index-a1b2.js")
        plain = await http.get("/console/assets/index-a1b2.js", headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.text == plain.text == (build / "assets" / "index-a1b2.js").read_text()
    assert "content-encoding" not in plain.headers


async def test_an_unchanged_page_is_not_sent_again(build: Path) -> None:
    async with client(build) as http:
        etag = (await http.get("/console")).headers["etag"]
        again = await http.get("/console", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert again.content == b""
    assert "content-security-policy" in again.headers


async def test_an_asset_of_another_build_wears_the_envelope(build: Path) -> None:
    async with client(build) as http:
        answer = await http.get("/console/assets/index-old.js")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "the console has no such file; load its page anew"}


async def test_a_console_that_was_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        answer = await http.get("/console/images")
    assert answer.status_code == 200
    assert "make console" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_the_first_load_is_small(built: Path) -> None:
    sizes = {
        path.name: len(gzip.compress(path.read_bytes(), 9)) for path in built.rglob("*") if path.is_file()
    }
    assert sizes
    assert sum(sizes.values()) < FIRST_LOAD_BYTES, sizes  # even with what only the dashboard loads


def test_the_page_has_no_inline_script_or_style_and_names_no_host(built: Path) -> None:
    page = (built / "index.html").read_text()
    assert "<script>" not in page
    assert "<style" not in page
    assert "style=" not in page
    assert "://" not in page


def test_the_locks_name_no_host() -> None:
    lock = json.loads((CONSOLE / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())
    assert all(package.get("integrity") for name, package in lock["packages"].items() if name)
    assert "://" not in (CONSOLE / "package-lock.json").read_text()
    assert "://" not in (PROJECT / "requirements-node.lock").read_text()


def test_a_wheel_holds_the_build_and_none_of_its_sources(built: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if name.startswith("serve_app/console/")]
    shipped = {f"serve_app/console/dist/{path.relative_to(built).as_posix()}" for path in files_of(built)}
    assert set(names) == shipped


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
