"""Headers of sound that hold more than a decoder needs: names, places, pictures of the cover."""

from typing import Final

from deployments.errors import VideoError

NO_COMMENT: Final = b"\3vorbis" + bytes(8) + b"\1"
"""A Vorbis comment header without vendor and comments (Vorbis I, section 5)."""
STREAMINFO_SIZE: Final = 34
"""Bytes of the one FLAC metadata block that decoders need (RFC 9639, section 8.2)."""


def bare_header(codec: str, header: bytes) -> bytes:
    """A codec's private data without tags.

    Args:
        codec: FFmpeg's name of it.
        header: FFmpeg's extradata of the stream.

    Raises:
        VideoError: Tags may be in it, but cannot be found.
    """
    if codec == "flac":
        return header[8 : 8 + STREAMINFO_SIZE] if header[:4] == b"fLaC" else header[:STREAMINFO_SIZE]
    if codec == "vorbis":
        identification, _, setup = _xiph_headers(header)
        return b"\2" + bytes((len(identification), len(NO_COMMENT))) + identification + NO_COMMENT + setup
    return header


def _xiph_headers(header: bytes) -> tuple[bytes, bytes, bytes]:
    """The three headers of Vorbis: each behind its size in 16 bits, or after both sizes in Xiph's lacing."""
    parts: list[bytes] = []
    if header[:2] == b"\0\x1e":
        at = 0
        for _ in range(3):
            size = int.from_bytes(header[at : at + 2], "big")
            parts.append(header[at + 2 : at + 2 + size])
            at += 2 + size
    elif header[:1] == b"\2":
        at, sizes = 1, []
        for _ in range(2):
            start = at
            while header[at : at + 1] == b"\xff":
                at += 1
            sizes.append(255 * (at - start) + int.from_bytes(header[at : at + 1], "big"))
            at += 1
        for size in sizes:
            parts.append(header[at : at + size])
            at += size
        parts.append(header[at:])
    kinds = [part[:7] for part in parts]
    if kinds != [b"\1vorbis", b"\3vorbis", b"\5vorbis"]:
        raise VideoError(
            "the header of its sound (vorbis) cannot be read; leave the sound out with --no-audio"
        )
    return parts[0], parts[1], parts[2]
