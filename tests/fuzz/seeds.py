"""Where the fuzzer begins: small pictures of every kind, bodies, headers and requests."""

import io
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from tests.conftest import SHARED_DIR
from tests.deployments.decoding.heifs import HEIGHT, STYLES, WIDTH, derived
from tests.deployments.decoding.pictures import encode, exif_with_orientation, quadrants, srgb_profile

pillow_heif.register_heif_opener()
MOST_BYTES = 64 * 1024
"""Of a shared file: mutations of larger ones say little more, and take longer."""


def pictures() -> list[bytes]:
    """Every format with what it may carry, and each small picture of the shared folder, good or bad."""
    rgb = Image.fromarray(quadrants())
    exif, profile = exif_with_orientation(6), srgb_profile()
    made = [
        encode(rgb, "JPEG", exif=exif, icc_profile=profile),
        encode(rgb, "JPEG", progressive=True),
        encode(rgb.convert("CMYK"), "JPEG"),
        encode(rgb.convert("L"), "JPEG", comment=b"a comment"),
        encode(rgb, "PNG", exif=exif, icc_profile=profile),
        encode(rgb.convert("P"), "PNG", transparency=0),
        encode(rgb.convert("1"), "PNG"),
        encode(np.zeros((8, 8), np.uint16), "PNG"),
        encode(rgb.convert("RGBA"), "WEBP", lossless=True, exif=exif, icc_profile=profile),
        encode(rgb, "WEBP"),
        encode(rgb, "GIF", save_all=True, append_images=[rgb.resize((20, 20))]),
        encode(rgb, "BMP"),
        encode(rgb.convert("P"), "BMP"),
        *(
            encode(rgb, "TIFF", compression=kind)
            for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")
        ),
        encode(rgb.convert("CMYK"), "TIFF", save_all=True, append_images=[rgb.convert("CMYK")]),
        encode(rgb, "AVIF", exif=exif),
        encode(rgb, "HEIF", exif=exif),
        encode(rgb.convert("RGBA"), "HEIF"),
        *(derived("grid", (2 * WIDTH, HEIGHT), (2 * WIDTH, HEIGHT), 2, style) for style in STYLES),
    ]
    files = sorted((SHARED_DIR / "data" / "bad_images").glob("*/*"))
    return made + [path.read_bytes() for path in files if 0 < path.stat().st_size <= MOST_BYTES]


def jpegs() -> list[bytes]:
    """Those of the pictures that may be masked without loss."""
    return [picture for picture in pictures() if picture.startswith(b"\xff\xd8")]


def uploads() -> list[bytes]:
    """`texts.upload` reads a size, a content type and a body."""
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = part + picture.getvalue() + b"\r\n--b--\r\n"
    other = b'--b\r\nContent-Disposition: form-data; name="other"\r\nContent-Type: text/plain\r\n\r\nx\r\n'
    types = (b"multipart/form-data; boundary=b", b'multipart/form-data; boundary="b"; charset=utf-8')
    return [
        b"\x05image/png\n" + picture.getvalue(),
        b"\x05application/octet-stream\n" + picture.getvalue(),
        *(b"\x09" + kind + b"\n" + form for kind in types),
        b"\xff" + types[0] + b"\n" + other + form,
        b"\xff" + types[0] + b"\npreamble\r\n" + part.replace(b"a.png", b'%22\\"..\\..') + b"x\r\n--b--",
    ]


def texts() -> list[bytes]:
    """File names, cookies, addresses and credentials."""
    words = [
        "../../etc/passwd", "C:\\x\\a.jpg", 'a"b\r\nX: y.png', "e\u0301\u202egpj.exe", "한글 사진.HEIC",
        "face_api_session=abc; face_api_session=def", "10.0.0.1, [::1]:80, 1.2.3.4:5", "https://a.b:8000/c",
        "." * 300, "Basic YTpi", "00000000-0000-4000-8000-000000000000", "xyl_" + "0" * 48,
    ]  # fmt: skip
    return [word.encode() for word in words]


def connections() -> list[bytes]:
    """`texts.http` reads a size and what comes on a connection."""
    get, post = b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n"
    full = b"POST /full?c=d HTTP/1.1\r\nHost: a\r\n"  # refused by its head
    return [
        b"\x05" + get + b"\r\n",
        b"\xff" + get + b"\r\n" + get + b"Connection: close\r\n\r\n" + get + b"\r\n",
        b"\x03" + post + b"Content-Length: 5\r\n\r\nabcde" + get + b"\r\n",
        b"\x03"
        + post
        + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nabcde\r\n0\r\nX: y\r\n\r\n"
        + get
        + b"\r\n",
        b"\x20"
        + post
        + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab"
        + get
        + b"\r\n",
        b"\x20" + post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        b"\x20GET / HTTP/1.0\r\n\r\n",
        b"\x20" + post + b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\n",
        b"\x03" + full + b"Content-Length: 5\r\n\r\nabcde" + get + b"\r\n" + full + b"\r\n",
        b"\x05" + full + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n" + get + b"\r\n",
        b"\x20" + full + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + get + b"\r\n",
    ]


def write(seeds: list[bytes], folder: Path) -> None:
    """A file for each, as libFuzzer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"{number:03}").write_bytes(seed)
