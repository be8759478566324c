"""The console in Debian's Chromium, over one real service that all of these tests share."""

import asyncio
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from deployments.pipeline import LocalPipeline
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from serve_app.app import create_app
from serve_app.doorway import listen
from serve_app.routers.console import DIST
from serve_app.settings import Settings
from tests.console.pictures import red_picture
from tests.serve_app.conftest import LocalLedger
from tests.serving.conftest import Service, free_port, start, stop
from tests.tiny_scrfd import write_tiny_scrfd

AXE = DIST.parent / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 20_000
"""Two busy cores run the service, the database and the browser."""
DESKTOP = {"width": 1280, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here starts a service; one of them stops it, so it comes last."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ray)
    items.sort(key=lambda item: item.path == here / "test_outage.py")


def run_apart(work: Callable[[], Any]) -> Any:
    """Run something with an event loop of its own: Playwright occupies the one of this thread."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real service with its own PostgreSQL and S3, and a model that takes red blocks for faces."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on PATH; Debian's package `chromium` has it")
    if not (DIST / "index.html").exists():
        pytest.skip("the console was not built; `make console` builds it")
    folder = tmp_path_factory.mktemp("console")
    running = start(
        folder,
        FACE_API_MODEL=str(write_tiny_scrfd(folder / "tiny.onnx")),
        FACE_API_RATE_LIMIT_LOGIN="off",
        FACE_API_PROVIDER="cpu",
        FACE_API_THREADS="1",
        PORT=str(free_port()),
    )
    yield running
    if running.process.poll() is None:
        stop(running)


@dataclass
class Filled:
    """What the service holds."""

    image_ids: list[str] = field(default_factory=list)  # newest last
    job_ids: list[str] = field(default_factory=list)


@pytest.fixture(scope="package")
def filled(service: Service) -> Filled:
    """Thirty pictures: one page of the grid, and some more."""
    made = Filled()
    with httpx.Client(base_url=service.url, timeout=60, headers={"X-API-Key": service.api_key}) as http:
        for index in range(30):
            picture = red_picture(faces=1 + index % 3)
            files = {"image": (f"picture {index:02}.png", picture, "image/png")}
            if index % 5 == 4:
                answer = http.post("/api/v1/detect", files=files)
                ids = answer.json()["image_id"], answer.json()["job_id"]
            else:
                method = ("gaussian", "pixelate", "solid", "elliptical")[index % 4]
                query = {"method": method, "strength": "40", "format": "png"}
                answer = http.post("/api/v1/mask", files=files, params=query)
                ids = answer.headers.get("x-image-id", ""), answer.headers.get("x-job-id", "")
            assert answer.status_code == 200, answer.text
            assert all(ids), "it was not stored"
            made.image_ids.append(ids[0])
            made.job_ids.append(ids[1])
    return made


@pytest.fixture
def admin(service: Service) -> Iterator[httpx.Client]:
    """The admin API, past the console."""
    credentials = service.credentials
    auth = credentials["admin_user"], credentials["admin_password"]
    with httpx.Client(base_url=service.url, timeout=60, auth=auth) as http:
        yield http


@pytest.fixture(scope="package")
def browser(service: Service, postgres: str) -> Iterator[Browser]:
    """Debian's Chromium. The fixtures named here use event loops, so they come before Playwright."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@dataclass
class Watched:
    """What a page did that nobody should see."""

    origin: str
    problems: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)  # statuses of failures a test provokes
    may_be_unreachable: bool = False

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        text = message.text
        if any(f"status of {status} " in text for status in self.expected):
            return
        if self.may_be_unreachable and "net::ERR_" in text:
            return
        self.problems.append(f"console: {text}")

    def on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:", f"blob:{self.origin}/")):
            self.problems.append(f"request: {request.url}")


class Console:
    """Opens pages of one service and judges at the end what they did."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self._browser = browser
        self._watched: list[Watched] = []
        self._pages: list[Page] = []

    def open(
        self,
        path: str = "",
        *,
        session: str | None = None,
        expected: set[int] | None = None,
        may_be_unreachable: bool = False,
        **context: Any,
    ) -> Page:
        """A page in a fresh profile, with the cookie of a session or without one."""
        options = {"viewport": DESKTOP, "locale": "en-US", **context}
        profile = self._browser.new_context(**options)
        profile.set_default_timeout(PATIENCE_MS)
        if session is not None:
            cookie = {"name": "face_api_session", "value": session, "url": self.url, "httpOnly": True}
            profile.add_cookies([cookie])
        page = profile.new_page()
        watched = Watched(self.url, expected=expected or set(), may_be_unreachable=may_be_unreachable)
        page.on("console", watched.on_console)
        page.on("pageerror", lambda error: watched.problems.append(f"error: {error}"))
        page.on("request", watched.on_request)
        self._watched.append(watched)
        self._pages.append(page)
        page.goto(f"{self.url}/console{path}")
        page.wait_for_selector("h1")
        return page

    def close(self) -> list[str]:
        """What no page should have done."""
        for page in self._pages:
            page.context.close()
        return [problem for watched in self._watched for problem in watched.problems]


def log_in(url: str, username: str, password: str) -> str:
    """The cookie of a new session."""
    credentials = {"username": username, "password": password}
    answer = httpx.post(f"{url}/api/v1/admin/auth/login", json=credentials, timeout=60)
    assert answer.status_code == 204, answer.text
    return answer.cookies["face_api_session"]


@pytest.fixture(scope="package")
def session(service: Service) -> str:
    """A session that lasts as long as these tests."""
    return log_in(service.url, service.credentials["admin_user"], service.credentials["admin_password"])


@pytest.fixture
def console(browser: Browser, service: Service) -> Iterator[Console]:
    """Pages of the real service; fails the test on a console error or a request to another origin."""
    pages = Console(browser, service.url)
    yield pages
    assert pages.close() == []


@pytest.fixture(scope="package")
def database(postgres: str) -> str:
    """A fresh database for services in this process."""
    name = f"console_{uuid.uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(postgres.replace("/face_api?", "/postgres?"))
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE face_api")
        await connection.close()

    run_apart(lambda: asyncio.run(create()))
    return postgres.replace("/face_api?", f"/{name}?")


Started = Callable[..., Console]


@pytest.fixture
def start_here(browser: Browser, tmp_path: Path) -> Iterator[Started]:
    """Services in this process, without Ray: for tiers that are off and limits of their own."""
    weights = write_tiny_scrfd(tmp_path / "tiny.onnx")
    scrfd = Scrfd.load(ScrfdOptions(ModelSource(str(weights), (), tmp_path), tmp_path / "prepared", "cpu", 1))
    running: list[tuple[uvicorn.Server, threading.Thread]] = []
    consoles: list[Console] = []

    def begin(**values: Any) -> Console:
        settings = Settings(**values)
        app = create_app(settings, LocalPipeline(scrfd, max_pixels=1_000_000), LocalLedger(settings))
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", loop="asyncio", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listen("127.0.0.1", port)]})
        thread.start()
        running.append((server, thread))
        consoles.append(Console(browser, f"http://127.0.0.1:{port}"))
        return consoles[-1]

    yield begin
    problems = [problem for pages in consoles for problem in pages.close()]
    for server, thread in running:
        server.should_exit = True
        thread.join(20)
    assert problems == []
