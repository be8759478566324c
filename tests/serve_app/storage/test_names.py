import unicodedata
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.storage.names import (
    MAX_CHARACTERS,
    MAX_UTF8_BYTES,
    content_disposition,
    original_key,
    processed_key,
    safe_filename,
    safe_path,
)

IMAGE, JOB = UUID(int=1), UUID(int=2)
FORMATS = st.sampled_from(["jpeg", "png", "webp", "gif", "bmp", "tiff", "heif", "bin"])
NAMES = (
    st.none() | st.text(max_size=1000) | st.text(alphabet='./\\ \x00\u202e\u200d:"é漢😀\u0301', max_size=300)
)


@pytest.mark.parametrize(
    ("text", "image_format", "expected"),
    [
        ("face.jpg", "jpeg", "face.jpg"),
        ("Holiday 2026.JPEG", "jpeg", "Holiday 2026.JPEG"),
        ("../../etc/passwd", "png", "passwd.png"),
        ("C:\\Users\\me\\me.png", "png", "me.png"),
        ("..", "png", "image.png"),
        ("a/b/", "png", "image.png"),
        ("", "jpeg", "image.jpg"),
        (None, "webp", "image.webp"),
        (".jpg", "jpeg", "jpg.jpg"),
        (".htaccess", "jpeg", "htaccess.jpg"),
        ("photo.png", "jpeg", "photo.jpg"),
        ("photo.exe", "jpeg", "photo.exe.jpg"),
        ("v1.2", "png", "v1.2.png"),
        ("nul\x00l\r\nX: y.png", "png", "nullX y.png"),
        ("gpj\u202egnp.png", "png", "gpjgnp.png"),
        ('a<b>c:"d|e?f*.png', "png", "abcdef.png"),
        ("e\u0301.png", "png", "\u00e9.png"),
        ("漢字 שלום العربية.png", "png", "漢字 שלום العربية.png"),
        ("👩\u200d💻🇩🇪.png", "png", "👩\u200d💻🇩🇪.png"),
        ("می\u200cخواهم.png", "png", "می\u200cخواهم.png"),
        ("name. .png", "png", "name.png"),
        ("\ud800\ufffe.png", "png", "png.png"),
        ("100%+#&.png", "png", "100%+#&.png"),
        ("face.avif", "heif", "face.avif"),
    ],
)
def test_a_name_keeps_what_is_harmless(text: str | None, image_format: str, expected: str) -> None:
    assert safe_filename(text, image_format) == expected


@pytest.mark.parametrize("character", ["x", "é", "漢", "😀", "\u0301"])
def test_a_long_name_is_cut_between_characters_and_keeps_its_extension(character: str) -> None:
    name = safe_filename(f"a{character * 1000}.jpg", "jpeg")
    assert name.endswith(".jpg")
    assert len(name) <= MAX_CHARACTERS
    assert MAX_UTF8_BYTES - 4 < len(name.encode()) <= MAX_UTF8_BYTES or len(name) == MAX_CHARACTERS


@given(NAMES, FORMATS)
@example("." * 1000, "png")
@example("a" * 99 + ".png", "jpeg")
def test_any_name_becomes_one_safe_path_segment(text: str | None, image_format: str) -> None:
    name = safe_filename(text, image_format)
    assert name.strip(". ") == name
    assert not set(name) & set('/\\<>:"|?*')
    assert all(unicodedata.category(c) not in {"Cc", "Cs", "Co"} for c in name)
    assert not any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in name)
    assert unicodedata.is_normalized("NFC", name)
    assert 1 <= len(name) <= MAX_CHARACTERS
    assert len(name.encode()) <= MAX_UTF8_BYTES
    assert original_key(IMAGE, name).split("/") == ["originals", str(IMAGE), name]


@given(NAMES, FORMATS)
def test_a_safe_name_stays_as_it_is(text: str | None, image_format: str) -> None:
    name = safe_filename(text, image_format)
    assert safe_filename(name, image_format) == name


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_header_with_any_name_is_one_line_of_ascii(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


def test_a_result_lies_below_its_image() -> None:
    assert processed_key(IMAGE, JOB, "webp") == f"processed/{IMAGE}/{JOB}.webp"


def test_a_header_names_the_file_for_old_and_new_clients() -> None:
    assert content_disposition('é "x".png') == (
        "attachment; filename=\"_ _x_.png\"; filename*=UTF-8''%C3%A9%20%22x%22.png"
    )


def test_a_path_keeps_its_folders_and_climbs_nowhere() -> None:
    assert safe_path("Fotos/Sommer 2024/a.heic", "jpeg") == "Fotos/Sommer 2024/a.jpg"
    assert safe_path("../../etc/passwd", "png") == "etc/passwd.png"
    assert safe_path("/root/./a.jpg", "jpeg") == "root/a.jpg"
    assert safe_path("C:\\Users\\a.jpg", "jpeg") == "C/Users/a.jpg"
    assert safe_path(None, "webp") == "image.webp"
    assert safe_path("x/" * 1000 + "a.jpg", "jpeg").count("/") == 16
