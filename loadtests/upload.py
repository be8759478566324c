"""A picture as the body of a request: raw, or as the part `image` of a multipart form."""

import os
from dataclasses import dataclass
from pathlib import Path

from loadtests.pictures import astronaut

BOUNDARY = "picture-7c1f0c9e4b"


@dataclass(frozen=True, slots=True)
class Upload:
    """A body and what its Content-Type header has to say."""

    body: bytes
    content_type: str


def multipart(picture: bytes, content_type: str = "image/jpeg") -> Upload:
    """The picture as a browser or curl sends it."""
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="picture.jpg"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Upload(body, f"multipart/form-data; boundary={BOUNDARY}")


def read_picture(path: Path | None) -> bytes:
    """The given file, else the load test's picture, else scikit-image's public-domain astronaut."""
    if path is not None:
        return path.read_bytes()
    usual = Path(os.environ.get("FACE_API_SHARED_DIR", "../shared")) / "data" / "bench" / "p1080.jpg"
    return usual.read_bytes() if usual.is_file() else astronaut()
