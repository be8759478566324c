"""Pictures that can be told from each other by their answers: by a size, a face's place and a number.

The number is drawn as black and white blocks along the lower edge, where no head is. So an answer of /detect
is known by its facts and its box, and one of /mask by its size, its blocks and all its other pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np

from loadtests.pictures import head
from models.types import UInt8Array

BITS: Final = 20
BLOCK: Final = 16
"""Side of a block, pixels: it outlives every codec."""
QUALITY: Final = 90
MOST_DIFFERENCE: Final = 6.0
"""Mean difference of 8-bit values that two encodings of one picture may have; two pictures differ by 40."""
LEAST_SHOWN: Final = 0.1
"""Share of a picture that has to be left to compare; 73 % of one of 2,540 backgrounds passed for faces."""
DARK: Final = 16
"""Brightest value of a face that was painted over in black, after its codec."""


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture and what tells it from all others."""

    number: int
    width: int
    height: int
    left: int  # of the square that holds the head
    top: int
    side: int
    confidence: float  # the threshold it is sent with
    data: bytes = field(repr=False)  # JPEG

    @property
    def query(self) -> dict[str, str]:
        """Parameters of its own."""
        return {"confidence": f"{self.confidence:.4f}"}


def make_coded(number: int, seed: int = 0) -> Coded:
    """The picture of a number below 2**BITS."""
    random = np.random.default_rng([seed, number])
    width, height = 8 * int(random.integers(42, 76)), 8 * int(random.integers(32, 60))
    side = int(random.integers(120, min(190, int((height - BLOCK) / 1.3))))
    left = int(random.integers(0, width - side + 1))
    top = int(random.integers(0, height - BLOCK - int(1.25 * side)))  # masks reach below it
    rough = random.normal(120.0, 70.0, (6, 6, 3)).astype(np.float32)
    soft = cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = np.clip(soft, 0, 255).astype(np.uint8)
    pixels[top : top + side, left : left + side] = head(side)
    for bit in range(BITS):
        value = 255 if number >> bit & 1 else 0
        pixels[height - BLOCK :, bit * BLOCK : (bit + 1) * BLOCK] = value
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    confidence = round(0.3 + 0.0001 * int(random.integers(0, 1000)), 4)
    return Coded(number, width, height, left, top, side, confidence, data)


def wrong_with_detection(coded: Coded, answer: Mapping[str, Any]) -> str | None:
    """What shows that an answer of /detect is not this picture's; None when it is."""
    image = answer["image"]
    facts = (image["width"], image["height"], image["size_bytes"])
    if facts != (coded.width, coded.height, len(coded.data)):
        return f"facts of another picture: {facts}"
    threshold = answer["processing"]["confidence_threshold"]
    if threshold != coded.confidence:
        return f"another request's threshold: {threshold}"
    for face in answer["detections"]:
        x, y = face["center"]["x"] - coded.left, face["center"]["y"] - coded.top
        if 0.2 < x / coded.side < 0.8 and 0.2 < y / coded.side < 0.8:
            return None
    return f"no face where its head is, but {len(answer['detections'])} elsewhere"


def wrong_with_mask(coded: Coded, data: bytes) -> str | None:
    """What shows that a picture is not this one with its face painted over in black; None when it is."""
    pixels = _decode(data)
    if pixels is None:
        return "no picture"
    if pixels.shape[:2] != (coded.height, coded.width):
        return f"another picture's size: {pixels.shape[1]}x{pixels.shape[0]}"
    number = read_number(pixels)
    if number & ~coded.number or _is_bright(pixels, number ^ coded.number):
        return f"another picture's number: {number}"
    if _face(pixels, coded).max() > DARK:
        return "the face is not hidden"
    return _wrong_with_the_rest(coded, pixels)


def _wrong_with_the_rest(coded: Coded, pixels: UInt8Array) -> str | None:
    shows = pixels.max(axis=2) > DARK  # the detector may see faces in a background, too
    if (share := float(shows.mean())) < LEAST_SHOWN:
        return f"only {share:.0%} of it show"
    original = _decode(coded.data)
    assert original is not None  # noqa: S101 - we made it
    mean = float(np.abs(pixels.astype(np.int16) - original)[shows].mean())
    return f"its other pixels differ by {mean:.1f}" if mean > MOST_DIFFERENCE else None


def read_number(pixels: UInt8Array) -> int:
    """The number along the lower edge of (H, W, 3) pixels."""
    return sum(1 << bit for bit, value in enumerate(_blocks(pixels).mean(axis=(0, 2))) if value > 127)


def _is_bright(pixels: UInt8Array, bits: int) -> bool:
    """Whether any of these blocks shows: none does where a face was seen in them, and painted over."""
    return any(value > DARK for bit, value in enumerate(_blocks(pixels).max(axis=(0, 2))) if bits >> bit & 1)


def _blocks(pixels: UInt8Array) -> UInt8Array:
    """(4, BITS, 3): a few pixels from the middle of each block, above each other."""
    return pixels[-BLOCK // 2 - 2 : -BLOCK // 2 + 2, BLOCK // 2 : BITS * BLOCK : BLOCK]


def _decode(data: bytes) -> UInt8Array | None:
    """(H, W, 3) BGR; None for what is no picture."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else decoded.astype(np.uint8, copy=False)


def _face(pixels: UInt8Array, coded: Coded) -> UInt8Array:
    """A view of the middle of the head's square."""
    begin, end = round(0.4 * coded.side), round(0.6 * coded.side)
    return pixels[coded.top + begin : coded.top + end, coded.left + begin : coded.left + end]
