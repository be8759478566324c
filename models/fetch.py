"""Weights on this machine: found in local folders or downloaded, used only when their digest is right."""

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from models.errors import ModelDigestError, ModelUnavailableError, ReleaseUnreachableError
from models.manifest import RELEASE_URL, ModelSpec

TIMEOUT: Final = httpx.Timeout(30.0, connect=3.0)
Progress = Callable[[int, int | None], None]
"""Called with the bytes had so far and the bytes in all, when the server says."""


def sha256_of(path: Path) -> str:
    """Digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_weights(spec: ModelSpec, folders: Sequence[Path]) -> Path | None:
    """The first file with the model's name, or its name in the archive, that holds its weights.

    Raises:
        ModelDigestError: Files of that name are there, but none holds these weights.
    """
    wrong: list[Path] = []
    for folder in folders:
        for name in (spec.file_name, spec.member):
            path = folder / name
            if path.is_file():
                if spec.accepts(sha256_of(path)):
                    return path
                wrong.append(path)
    if wrong:
        raise ModelDigestError(
            f"{wrong[0]} is not {spec.name}: its sha256 is {sha256_of(wrong[0])}, not {spec.sha256}; "
            "replace or remove it"
        )
    return None


def fetch_weights(
    spec: ModelSpec, folder: Path, mirror: str | None = None, progress: Progress | None = None
) -> Path:
    """Download a model's archive, take its weights out, check them and move them into `folder`.

    A broken download goes on where it stopped; a second process waits for the first.

    Args:
        spec: The model.
        folder: Where the weights end as `<name>.onnx`.
        mirror: URL of a folder that holds the archives, in place of the release.
        progress: Told about each chunk.

    Raises:
        ModelUnavailableError: The archive could not be had; says where to put the file by hand.
        ModelDigestError: The archive holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / spec.file_name
    url = f"{(mirror or RELEASE_URL).rstrip('/')}/{spec.archive}"
    with _locked(folder / f".{spec.name}.lock"):
        if target.is_file() and spec.accepts(sha256_of(target)):
            return target
        archive = folder / f"{spec.archive}.part"
        try:
            _download(url, archive, progress)
        except (httpx.HTTPError, OSError) as error:
            unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            kind = ReleaseUnreachableError if unreachable else ModelUnavailableError
            raise kind(by_hand(spec, folder, f"{url}: {error or type(error).__name__}")) from error
        part = target.with_suffix(".onnx.part")
        try:
            _extract(spec, archive, part)
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise ModelDigestError(f"{url} is not the archive of {spec.name}: {error}") from error
        finally:
            archive.unlink(missing_ok=True)
        digest = sha256_of(part)
        if not spec.accepts(digest):
            part.unlink()
            raise ModelDigestError(f"{url} holds other weights: sha256 {digest}, not {spec.sha256}")
        os.replace(part, target)  # noqa: PTH105 - says atomic to its readers
    return target


def by_hand(spec: ModelSpec, folder: Path, reason: str) -> str:
    """What to do when a model cannot be downloaded."""
    return (
        f"cannot download {spec.name} ({reason}). Put {spec.member} of {spec.archive} "
        f"(sha256 {spec.sha256}) as {spec.file_name} into {folder}, or try again with "
        f"`face-api models fetch {spec.name}`"
    )


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Complete `part`; asks only for what is missing, if the server can do that."""
    tag_file = part.with_suffix(".etag")
    had = part.stat().st_size if part.is_file() else 0
    headers = {}
    if had:
        headers["Range"] = f"bytes={had}-"
        if tag_file.is_file():
            headers["If-Range"] = tag_file.read_text()
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
        else:
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            had = had if resumed else 0
            length = response.headers.get("content-length")
            total = had + int(length) if length else None
            if tag := response.headers.get("etag"):
                tag_file.write_text(tag)
            with part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    had += len(chunk)
                    if progress is not None:
                        progress(had, total)
            tag_file.unlink(missing_ok=True)
            return
    _download(url, part, progress)  # what was there is longer than the archive: start over


def _extract(spec: ModelSpec, archive: Path, part: Path) -> None:
    """Write the member to `part`; never more than the manifest says it holds."""
    with zipfile.ZipFile(archive) as bundle:
        names = [name for name in bundle.namelist() if name.rsplit("/", 1)[-1] == spec.member]
        if not names:
            raise KeyError(f"no {spec.member} in it")
        most = max(spec.size_bytes, *spec.equal_exports.values(), 0)
        with bundle.open(names[0]) as source:
            part.write_bytes(source.read(most + 1))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
