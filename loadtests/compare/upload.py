"""The request every server gets: one picture as the part `image` of a multipart body."""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2

BOUNDARY = "picture-7c1f0c9e4b"


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart body and what its Content-Type header has to say."""

    body: bytes
    content_type: str


def multipart(picture: bytes) -> Upload:
    """The picture as a browser or curl sends it."""
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="picture.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Upload(body, f"multipart/form-data; boundary={BOUNDARY}")


def read_picture(path: Path | None) -> bytes:
    """The given file, else the load test's picture, else scikit-image's public-domain astronaut."""
    if path is not None:
        return path.read_bytes()
    usual = Path(os.environ.get("FACE_API_SHARED_DIR", "../shared")) / "data" / "bench" / "p1080.jpg"
    if usual.is_file():
        return usual.read_bytes()
    try:
        from skimage import data  # noqa: PLC0415 - a development dependency
    except ImportError:
        raise SystemExit("no picture to send; name one with --image FILE") from None
    pixels = data.astronaut()  # type: ignore[no-untyped-call] # scikit-image has no types for it
    astronaut = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", astronaut)[1].tobytes()
