"""Real photos and malformed files which are not part of this repository."""

import json
import resource
from pathlib import Path

import pytest

from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, ImageTooLargeError, UnsupportedFormatError
from tests.deployments.decoding.pictures import LIMIT

pytestmark = pytest.mark.shared

VALID_ODDITIES = (
    "generated/polyglot_jpeg_zip.jpg",
    "generated/polyglot_png_php_tail.png",
    "generated/png_as_jpeg.jpg",
    "generated/exif_ifd_loop.jpg",
    "pillow/photoshop-200dpi-broken.jpg",  # extraneous bytes before a marker
    "pillow/truncated_app14.jpg",
    "pillow/sugarshack_bad_mpo_header.jpg",
    "libjpeg-turbo/testorig_rot90_441_q25_scan_script.jpg",  # sampling without a name
    "libjpeg-turbo/testorig_vflip_410_q10_baseline.jpg",
)


def test_every_malformed_file_gives_a_picture_or_a_named_error(shared_dir: Path) -> None:
    files = [path for path in sorted((shared_dir / "data/bad_images").glob("*/*")) if path.is_file()]
    assert files
    refused = 0
    for path in files:
        try:
            decode(path.read_bytes(), max_pixels=LIMIT, keep_picture=True)
        except (UnsupportedFormatError, ImageTooLargeError, ImageDecodeError):
            refused += 1
    assert len(files) / 2 < refused < len(files)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_kib < 2 * 2**20


def test_malformed_files_write_nothing_to_stderr(shared_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in sorted((shared_dir / "data/bad_images").glob("*/*")):
        try:
            decode(path.read_bytes(), max_pixels=LIMIT, keep_picture=False)
        except (UnsupportedFormatError, ImageTooLargeError, ImageDecodeError):
            continue
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", VALID_ODDITIES)
def test_oddities_that_viewers_show_are_decoded(shared_dir: Path, name: str) -> None:
    decode((shared_dir / "data/bad_images" / name).read_bytes(), max_pixels=LIMIT, keep_picture=True)


@pytest.mark.parametrize(
    "name",
    [
        "generated/bomb_png_20000x20000_rgb.png",
        "generated/header_png_2147483647.png",
        "generated/header_jpeg_prog_65500x65500.jpg",
        "generated/jpeg_progressive_2000_scans_8000x8000.jpg",
        "generated/bomb_gif_screen_65535.gif",
        "generated/header_bmp_huge.bmp",
        "generated/webp_vp8x_canvas_16M.webp",
    ],
)
def test_bombs_are_too_large_by_their_header(shared_dir: Path, name: str) -> None:
    with pytest.raises(ImageTooLargeError):
        decode((shared_dir / "data/bad_images" / name).read_bytes(), max_pixels=LIMIT, keep_picture=True)


@pytest.mark.parametrize("keep_picture", [True, False])
def test_every_photo_has_its_upright_size(shared_dir: Path, keep_picture: bool) -> None:
    folder = shared_dir / "data/photos"
    reference = json.loads((folder / "reference_detections.json").read_text())
    for name, facts in reference.items():
        decoded = decode((folder / name).read_bytes(), max_pixels=LIMIT, keep_picture=keep_picture)
        assert [decoded.info.width, decoded.info.height] == facts["size_after_exif"], name


def test_a_picture_with_exif_and_gps_carries_no_profile(shared_dir: Path) -> None:
    path = shared_dir / "data/photos/derived/exif_thumbnail_and_gps_leak_noface.jpg"
    decoded = decode(path.read_bytes(), max_pixels=LIMIT, keep_picture=True)
    assert decoded.picture is not None
    assert decoded.picture.icc_profile is None
