"""Mutations that get past a checksum: a PNG with one byte changed is refused before anybody looks at it."""

import zlib

import atheris

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate(data: bytes, most: int, _seed: int) -> bytes:
    """What libFuzzer makes of it; where that is a PNG, with right checksums."""
    mutated: bytes = atheris.Mutate(data, most)
    return with_right_checksums(mutated) if mutated.startswith(SIGNATURE) else mutated


def with_right_checksums(png: bytes) -> bytes:
    """The same chunks; what follows the last whole one stays as it is."""
    mended, at = bytearray(png), len(SIGNATURE)
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)
