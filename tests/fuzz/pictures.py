"""Targets that take the bytes of a picture: whatever they are, only a client's error may come out."""

import cv2
import numpy as np

from deployments.decoding.claim import claimed_pixels
from deployments.decoding.decode import decode
from deployments.decoding.exif import read_orientation
from deployments.decoding.icc import rgb_profile, sound_profile
from deployments.decoding.jpeg_header import check_scans, read_jpeg_header
from deployments.errors import LosslessUnavailableError
from deployments.masking.lossless import check_lossless, mask_lossless
from deployments.masking.mask import mask
from deployments.types import MaskMethod, MaskParams, OutputFormat
from models.errors import FaceError
from serve_app.errors import status_of

MOST_PIXELS = 1_000_000
METHODS: tuple[MaskMethod, ...] = ("gaussian", "pixelate", "solid")
FORMATS: tuple[OutputFormat, ...] = ("jpeg", "png", "webp")
KEPT = frozenset(
    {b"\xff\xe0", b"\xff\xe2"}  # JFIF, and APP2 with the profile
    | {b"IHDR", b"iCCP", b"pHYs", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
    | {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"}
)
"""Chunks of PNG and WebP and application segments of JPEG that an answer may have."""


def header(data: bytes) -> None:
    """What our own Python reads of a picture, in the process that all clients share."""
    assert 1 <= read_orientation(data) <= 8
    for profile in (sound_profile(data), rgb_profile(data)):
        assert profile is None or (data.startswith(profile) and len(profile) >= 128)
    try:
        found = read_jpeg_header(data)
        assert 0 < found.scan_start <= len(data)
        if found.width and found.height:
            check_scans(data, found)
    except FaceError as error:
        expect_clients_fault(error)
    try:
        assert 1 <= claimed_pixels(data, MOST_PIXELS) <= MOST_PIXELS
    except FaceError as error:
        expect_clients_fault(error)


def picture(data: bytes) -> None:
    """The whole way of a picture: it is no larger than it claimed, and none of its metadata comes out."""
    try:
        decoded = decode(data, max_pixels=MOST_PIXELS, keep_picture=True)
    except FaceError as error:
        expect_clients_fault(error)
        return
    info = decoded.info
    assert info.width * info.height <= claimed_pixels(data, MOST_PIXELS)
    assert decoded.picture is not None
    assert decoded.picture.pixels.shape == (info.height, info.width, info.channels)
    assert (decoded.canvas.width, decoded.canvas.height) == (info.width, info.height)
    choice = sum(data[-4:])
    params = MaskParams(METHODS[choice % 3], 40, 0.1, FORMATS[choice // 3 % 3], 90)
    boxes = np.array([[0, 0, info.width / 2, info.height / 2]], np.float32)
    try:
        masked = mask(decoded.picture, boxes, params).data
    except FaceError as error:
        expect_clients_fault(error)
        return
    assert parts_of(masked) <= KEPT
    assert cv2.imdecode(np.frombuffer(masked, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (
        info.height,
        info.width,
    )


def reduced(data: bytes) -> None:
    """Decoding for /detect, which may be at half the size: the same picture or the same refusal."""
    results = []
    for keep_picture in (False, True):
        try:
            info = decode(data, max_pixels=MOST_PIXELS, keep_picture=keep_picture).info
            results.append((info.width, info.height))
        except FaceError as error:
            expect_clients_fault(error)
            results.append(None)
    assert results[0] == results[1]


def lossless(data: bytes) -> None:
    """A JPEG whose face is hidden in its coefficients: the face is gone, and only the orientation stays."""
    params = MaskParams("solid", padding=0.0, format="jpeg", lossless=True)
    try:
        check_lossless(data, params)
        info = decode(data, max_pixels=MOST_PIXELS, keep_picture=False).info
        box = np.array([[0, 0, info.width, info.height]], np.float32)
        masked = mask_lossless(data, info.width, info.height, box, params).data
    except LosslessUnavailableError:
        return
    except FaceError as error:
        expect_clients_fault(error)
        return
    assert parts_of(masked) <= KEPT | {b"\xff\xe1"}
    assert len(read_jpeg_header(masked).exif) < 64
    shown = decode(masked, max_pixels=MOST_PIXELS, keep_picture=True)
    assert shown.picture is not None
    assert (shown.info.width, shown.info.height) == (info.width, info.height)
    assert int(np.ptp(shown.picture.pixels.reshape(-1, 3), axis=0).max()) <= 2  # one colour


def parts_of(encoded: bytes) -> set[bytes]:
    """Names of the chunks of a PNG or WebP, or of the application segments and comments of a JPEG."""
    found: set[bytes] = set()
    if encoded.startswith(b"\xff\xd8"):
        at = 2
        while encoded[at : at + 2] != b"\xff\xda":
            marker, size = encoded[at : at + 2], int.from_bytes(encoded[at + 2 : at + 4], "big")
            found |= {marker} if 0xE0 <= marker[1] <= 0xEF or marker[1] == 0xFE else set()
            at += 2 + size
    elif encoded.startswith(b"RIFF"):
        at = 12
        while at < len(encoded):
            found.add(encoded[at : at + 4])
            size = int.from_bytes(encoded[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
    else:
        at = 8
        while at < len(encoded):
            found.add(encoded[at + 4 : at + 8])
            at += 12 + int.from_bytes(encoded[at : at + 4], "big")
    return found


def expect_clients_fault(error: FaceError) -> None:
    """Any other error is the finding."""
    if status_of(error) >= 500:
        raise AssertionError(f"{type(error).__name__} is no client's fault") from error
