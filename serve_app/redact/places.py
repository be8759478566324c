"""Where pictures come from and go to, as the command line names it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serve_app.redact.errors import PlaceError

S3_SCHEME: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; on a cluster, every machine must see it at this path."""

    path: Path  # absolute

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ZipFile:
    """A zip; on a cluster, every machine must see it at this path."""

    path: Path  # absolute

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What lies below a prefix of a bucket, as if it were a folder."""

    bucket: str
    prefix: str  # empty, or ends with a slash

    def __str__(self) -> str:
        return f"{S3_SCHEME}{self.bucket}/{self.prefix}"


Place = Folder | ZipFile | Prefix


def parse_place(text: str) -> Place:
    """A folder, a file that ends in .zip, or s3://bucket/prefix.

    Raises:
        PlaceError: It is none of them.
    """
    if text.startswith(S3_SCHEME):
        bucket, _, prefix = text.removeprefix(S3_SCHEME).partition("/")
        if not bucket:
            raise PlaceError(f"{text} names no bucket; write s3://bucket/prefix")
        return Prefix(bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")
    if "://" in text:
        raise PlaceError(f"{text} is neither a folder nor a .zip nor s3://bucket/prefix")
    path = Path(text).resolve()
    return ZipFile(path) if path.suffix.lower() == ".zip" and not path.is_dir() else Folder(path)


def refuse_overlap(source: Place, target: Place) -> None:
    """Originals are never written over, so neither place may lie in the other.

    Raises:
        PlaceError: One does.
    """
    if isinstance(source, Prefix) and isinstance(target, Prefix):
        inside = source.bucket == target.bucket and (
            source.prefix.startswith(target.prefix) or target.prefix.startswith(source.prefix)
        )
    elif isinstance(source, Prefix) or isinstance(target, Prefix):
        inside = False
    else:
        inside = _is_inside(source.path, target.path) or _is_inside(target.path, source.path)
    if inside:
        raise PlaceError(f"{target} and {source} lie in each other: choose a TARGET outside of SOURCE")


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it, under whatever names (links, other mounts)."""
    if path.is_relative_to(folder):
        return True
    return folder.exists() and any(
        parent.exists() and parent.samefile(folder) for parent in (path, *path.parents)
    )
