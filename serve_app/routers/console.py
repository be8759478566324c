"""/console: the administrators' web application, as `make` built it into `serve_app/console/dist`.

Every path below /console that names no file of the build answers with the one page, which reads the path
itself. Nothing here needs a session: the files hold no data, and each call of the page is checked.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve_app.schemas.pages import NotFoundError

DIST: Final = Path(__file__).parents[1] / "console" / "dist"
"""In an editable install and in a wheel alike: the build lies inside the package."""
PAGE: Final = "index.html"
HASHED: Final = "assets/"
"""Vite names what lies here by its content, so it never changes."""
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
NOT_BUILT: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Face API</title>
<h1>The console was not built</h1>
<p>The service runs; only its web pages are missing. In the project's folder, <code>make console</code> builds
them; it needs the npm registry once. Then start the service again.</p>
<p>Meanwhile, <a href="/docs">/docs</a> describes the same functions as an API, and
<a href="/health">/health</a> says how the service is.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One file of the build, as it is sent."""

    data: bytes
    gzipped: bytes
    media_type: str
    etag: str
    cache_control: str


def read_build(folder: Path) -> dict[str, BuiltFile]:
    """Every file of a build by its path from there; empty when there is none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: _built_file(name, path.read_bytes()) for name, path in files.items()}


def _built_file(name: str, data: bytes) -> BuiltFile:
    return BuiltFile(
        data=data,
        gzipped=gzip.compress(data, 9, mtime=0),
        media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        etag=f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        cache_control="public, max-age=31536000, immutable" if name.startswith(HASHED) else "no-cache",
    )


def console_router(folder: Path = DIST) -> APIRouter:
    """The routes of the console; without a build they say how to make one."""
    router = APIRouter(include_in_schema=False)
    files = read_build(folder)

    @router.get("/console")
    @router.get("/console/{path:path}")
    async def console(request: Request, path: str = "") -> Response:
        if PAGE not in files:
            return Response(NOT_BUILT, headers=HEADERS, media_type="text/html")
        if path not in files and path.startswith(HASHED):
            raise NotFoundError("the console has no such file; load its page anew")
        return _answer(request, files.get(path, files[PAGE]))

    return router


def _answer(request: Request, file: BuiltFile) -> Response:
    headers = {**HEADERS, "Cache-Control": file.cache_control, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            file.gzipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type
        )
    return Response(file.data, headers=headers, media_type=file.media_type)
