import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest

from deployments.errors import ImageDecodeError
from serve_app.batch.archive import leads_out, open_archive, read_entry
from serve_app.body import BodyTooLargeError, MalformedBodyError


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


def entries_of(data: bytes, most_items: int = 100) -> dict[str, bytes]:
    archive, entries = open_archive(io.BytesIO(data), most_items)
    return {entry.filename: read_entry(archive, entry, 1000) for entry in entries}


def test_files_of_a_zip_are_read_with_or_without_a_comment() -> None:
    files = {"a.jpg": b"one", "folder/b.png": b"two"}
    assert entries_of(zipped(files)) == files
    assert entries_of(zipped(files, zipfile.ZIP_STORED, comment=b"made by hand " * 100)) == files


def test_folders_and_what_macos_adds_are_left_out() -> None:
    assert list(entries_of(zipped({"folder/": b"", "__MACOSX/._a.jpg": b"x", "a.jpg": b"y"}))) == ["a.jpg"]


@pytest.mark.parametrize(
    "data", [b"", b"PK\x05\x06", b"nonsense" * 100, zipped({"a": b"b"})[:-10], b"\x00" * 30]
)
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        open_archive(io.BytesIO(data), 100)


def test_a_directory_of_very_many_entries_is_refused_before_it_is_read() -> None:
    data = zipped({f"{number:0200d}": b"" for number in range(1000)})
    with pytest.raises(MalformedBodyError, match="directory"):
        open_archive(io.BytesIO(data), 10)
    assert len(entries_of(data, 1000)) == 1000


def test_an_end_for_archives_over_4_gb_cannot_overrule_what_was_checked() -> None:
    small = zipped({"a.jpg": b"x"})
    end = small[-22:]
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(small) - 22, 1)
    with pytest.raises(MalformedBodyError, match="4 GB"):
        open_archive(io.BytesIO(small[:-22] + locator + end), 100)


def test_a_comment_that_looks_like_an_end_changes_nothing_that_was_checked() -> None:
    """The last end counts, for `zipfile` too: its directory of 4 GB is refused."""
    comment = b"PK\x05\x06" + b"\xff" * 18
    with pytest.raises(MalformedBodyError):
        open_archive(io.BytesIO(zipped({"a.jpg": b"x"}, comment=comment)), 100)


def test_a_file_that_claims_too_much_is_refused_without_unpacking() -> None:
    archive, (entry,) = open_archive(io.BytesIO(zipped({"a.jpg": b"\0" * 2000})), 100)
    with pytest.raises(BodyTooLargeError, match="1999"):
        read_entry(archive, entry, 1999)


def test_a_file_that_claims_little_and_unpacks_to_very_much_takes_no_memory() -> None:
    data = bytearray(zipped({"a.jpg": b"\0" * 50_000_000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (100).to_bytes(4, "little")
    archive, (entry,) = open_archive(io.BytesIO(bytes(data)), 100)
    assert entry.file_size == 100
    tracemalloc.start()
    with pytest.raises(ImageDecodeError):
        read_entry(archive, entry, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_damaged_encrypted_and_otherwise_packed_files_fail_alone() -> None:
    data = bytearray(zipped({"a.jpg": b"picture" * 20, "b.jpg": b"whole"}, zipfile.ZIP_STORED))
    data[data.index(b"picture")] ^= 1
    archive, (damaged, whole) = open_archive(io.BytesIO(bytes(data)), 100)
    with pytest.raises(ImageDecodeError):
        read_entry(archive, damaged, 1000)
    assert read_entry(archive, whole, 1000) == b"whole"
    archive, (entry,) = open_archive(io.BytesIO(zipped({"a": b"x"}, zipfile.ZIP_LZMA)), 100)
    with pytest.raises(MalformedBodyError):
        read_entry(archive, entry, 1000)
    archive, (entry,) = open_archive(io.BytesIO(zipped({"a": b"x"})), 100)
    entry.flag_bits |= 1
    with pytest.raises(MalformedBodyError, match="encrypted"):
        read_entry(archive, entry, 1000)


def test_a_name_that_leads_out_of_the_zip_is_refused() -> None:
    for name in ("../a.jpg", "/etc/passwd", "a/../../b", "..\\a", "C:/a.jpg", "\\a"):
        assert leads_out(name), name
        archive, (entry,) = open_archive(io.BytesIO(zipped({name: b"x"})), 100)
        with pytest.raises(MalformedBodyError, match="leads out"):
            read_entry(archive, entry, 1000)
    for name in ("a.jpg", "a/b.jpg", "a..b/c.jpg", "..."):
        assert not leads_out(name), name


def test_random_damage_never_raises_anything_else() -> None:
    whole = zipped({"a.jpg": b"picture" * 50, "b/c.png": zlib.compress(b"x" * 300)}, comment=b"c")
    for position in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(whole)
            data[position] ^= flip
            try:
                entries_of(bytes(data))
            except (MalformedBodyError, ImageDecodeError, BodyTooLargeError):
                continue
