from pathlib import Path

import pytest

from serve_app.redact.errors import PlaceError
from serve_app.redact.names import is_usable, output_name
from serve_app.redact.places import Folder, Prefix, ZipFile, parse_place, refuse_overlap


def test_a_place_is_a_folder_a_zip_or_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    assert parse_place(f"{tmp_path}/photos") == Folder(tmp_path / "photos")
    assert parse_place(f"{tmp_path}/x/../photos.ZIP") == ZipFile(tmp_path / "photos.ZIP")
    assert parse_place(f"{tmp_path}/folder.zip") == Folder(tmp_path / "folder.zip")
    assert parse_place("s3://bucket") == parse_place("s3://bucket/") == Prefix("bucket", "")
    assert parse_place("s3://bucket/a/b/") == parse_place("s3://bucket/a/b") == Prefix("bucket", "a/b/")
    assert str(parse_place("s3://bucket/a")) == "s3://bucket/a/"
    for wrong in ("s3://", "s3:///a", "gs://bucket", "https://host/a.zip"):
        with pytest.raises(PlaceError):
            parse_place(wrong)


def test_a_target_in_its_source_or_around_it_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(source)
    for target in ("in", "in/sub", "in/out", "in/out.zip", ".", "link", "link/out", "in/../in"):
        with pytest.raises(PlaceError, match="outside of SOURCE"):
            refuse_overlap(parse_place(str(source)), parse_place(f"{tmp_path}/{target}"))
    with pytest.raises(PlaceError):
        refuse_overlap(parse_place(f"{tmp_path}/a.zip"), parse_place(f"{tmp_path}/a.zip"))
    for target in (f"{tmp_path}/out", f"{tmp_path}/input", f"{tmp_path}/in.zip", "s3://bucket"):
        refuse_overlap(parse_place(str(source)), parse_place(target))


def test_prefixes_overlap_as_folders_do() -> None:
    source = parse_place("s3://bucket/a")
    for target in ("s3://bucket", "s3://bucket/a", "s3://bucket/a/b"):
        with pytest.raises(PlaceError):
            refuse_overlap(source, parse_place(target))
    for target in ("s3://bucket/ab", "s3://bucket/b", "s3://other/a", "/a"):
        refuse_overlap(source, parse_place(target))


def test_an_output_is_called_like_its_source_with_the_right_extension() -> None:
    assert output_name("a.jpg", "jpeg") == "a.jpg"
    assert output_name("sub/A.JPEG", "jpeg") == "sub/A.JPEG"
    assert output_name("a.heic", "jpeg") == "a.heic.jpg"
    assert output_name("a", "png") == "a.png"
    assert output_name("a.b/c", "webp") == "a.b/c.webp"


def test_only_plain_relative_names_are_used() -> None:
    for name in ("a.jpg", "a/b/c.jpg", ".hidden/a.jpg", "..a/b"):
        assert is_usable(name), name
    for name in ("/a.jpg", "a//b.jpg", "../a.jpg", "a/../../b", "./a", "a/", "a\0.jpg", "C:/a", "..\\a"):
        assert not is_usable(name), name
