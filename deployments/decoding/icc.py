"""ICC profiles: which are sound, and for which kind of pixels (ICC.1:2022 section 7.2)."""

from typing import Final

_HEADER_BYTES: Final = 128
_RGB: Final = b"RGB "


def sound_profile(profile: bytes) -> bytes | None:
    """The profile cut to the size it declares, or None when it is none.

    Bytes after the declared size could carry anything out of the service.
    """
    size = int.from_bytes(profile[:4], "big")
    if not _HEADER_BYTES <= size <= len(profile) or profile[36:40] != b"acsp":
        return None
    return profile[:size]


def colour_space(profile: bytes) -> bytes:
    """Four letters naming the device pixels a profile describes: `RGB `, `GRAY`, `CMYK`..."""
    return profile[16:20]


def rgb_profile(profile: bytes | None) -> bytes | None:
    """A sound profile of RGB pixels, else None: then the pixels are taken for sRGB."""
    sound = sound_profile(profile) if profile else None
    return sound if sound is not None and colour_space(sound) == _RGB else None
