import pytest

from loadtests.pictures import Picture
from loadtests.scenarios import chosen, of_own_pictures, scenarios


def test_names_are_unique_and_every_dimension_is_there() -> None:
    everything = scenarios()
    assert len({s.name for s in everything}) == len(everything)
    for route in ("detect", "mask"):
        mine = [s for s in everything if s.route == route]
        assert {s.megapixels for s in mine} == {0.3, 2.0, 12.0, 24.0}
        assert {s.faces for s in mine} == {0, 1, 20, 400}
        assert {s.is_multipart for s in mine} == {s.keep_alive for s in mine} == {True, False}
        assert {s.is_stored for s in mine} == {True, False}
    methods = {s.query.get("method", "gaussian") for s in everything if s.route == "mask"}
    assert methods == {"gaussian", "pixelate", "solid", "elliptical"}
    assert any(s.admin_rate for s in everything)


def test_what_is_not_to_be_stored_says_so() -> None:
    by_name = {s.name: s for s in scenarios()}
    assert by_name["detect"].path == "/api/v1/detect?store=none"
    assert by_name["detect, stored"].path == "/api/v1/detect"
    assert by_name["mask, solid"].path == "/api/v1/mask?method=solid&store=none"


def test_uploads_are_raw_or_multipart() -> None:
    by_name = {s.name: s for s in scenarios()}
    picture = Picture("p", b"bytes", "image/png")
    (raw,) = by_name["detect"].uploads([picture])
    (form,) = by_name["detect, multipart"].uploads([picture])
    assert (raw.body, raw.content_type) == (b"bytes", "image/png")
    assert b"Content-Type: image/png\r\n\r\nbytes\r\n" in form.body
    assert form.content_type.startswith("multipart/form-data")


def test_some_are_chosen_by_name_or_pattern() -> None:
    assert [s.name for s in chosen(["mask, s*"])] == ["mask, solid", "mask, stored"]
    assert [s.name for s in chosen(["detect"])] == ["detect"]
    with pytest.raises(SystemExit, match="there are\n  detect"):
        chosen(["nothing"])


def test_own_pictures_take_the_place_of_sizes_and_faces() -> None:
    assert {s.group for s in of_own_pictures(scenarios())} == {
        "plain",
        "method",
        "transport",
        "storage",
        "admin",
    }
