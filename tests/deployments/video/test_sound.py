import pytest

from deployments.errors import VideoError
from deployments.video.sound import bare_header

IDENTIFICATION = b"\1vorbis" + bytes(23)
COMMENT = b"\3vorbis" + b"\0\0\0\0\1\0\0\0\x0b\0\0\0ARTIST=Anna" + bytes(600) + b"\1"
SETUP = b"\5vorbis" + bytes(range(200))


def test_vorbis_loses_its_comments_in_both_ways_of_packing_them() -> None:
    laced = b"\2" + bytes([30]) + b"\xff\xff" + bytes([len(COMMENT) - 510]) + IDENTIFICATION + COMMENT + SETUP
    sized = b"".join(len(part).to_bytes(2, "big") + part for part in (IDENTIFICATION, COMMENT, SETUP))
    bare = bare_header("vorbis", laced)
    assert bare == bare_header("vorbis", sized)
    assert b"Anna" not in bare
    assert bare == b"\2\x1e\x10" + IDENTIFICATION + b"\3vorbis" + bytes(8) + b"\1" + SETUP
    assert bare_header("vorbis", bare) == bare


def test_a_vorbis_header_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(VideoError, match="--no-audio"):
        bare_header("vorbis", b"\2\x1e\xff")


def test_flac_keeps_its_stream_info_only() -> None:
    info = bytes(range(34))
    assert bare_header("flac", b"fLaC\0\0\0\x22" + info + b"\x84\0\0\x0bARTIST=Anna") == info
    assert bare_header("flac", info) == info


def test_other_headers_are_left_alone() -> None:
    assert bare_header("aac", b"\x11\x90") == b"\x11\x90"
