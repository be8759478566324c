from deployments.decoding.icc import colour_space, rgb_profile, sound_profile
from tests.deployments.decoding.pictures import srgb_profile


def test_an_rgb_profile_is_kept_whole() -> None:
    assert rgb_profile(srgb_profile()) == srgb_profile()
    assert colour_space(srgb_profile()) == b"RGB "


def test_bytes_after_the_declared_size_are_cut_off() -> None:
    assert rgb_profile(srgb_profile() + b"secret") == srgb_profile()


def test_a_profile_shorter_than_it_declares_is_none() -> None:
    assert sound_profile(srgb_profile()[:-1]) is None


def test_without_signature_or_header_it_is_no_profile() -> None:
    assert sound_profile(srgb_profile().replace(b"acsp", b"ACSP")) is None
    assert sound_profile(b"\0\0\0\x04") is None
    assert sound_profile(b"") is None
    assert rgb_profile(None) is None
    assert rgb_profile(b"") is None


def test_profiles_of_other_pixels_are_not_rgb() -> None:
    grey = srgb_profile().replace(b"RGB XYZ", b"GRAYXYZ")
    assert rgb_profile(grey) is None
    assert sound_profile(grey) == grey
