import json
from pathlib import Path

import pytest

from loadtests.ramp import draw, rates, read_ramp

LINES = [
    {
        "seconds": float(second),
        "clients": 4,
        "replicas": {"Decoder": 1 + (second > 5), "Masker": 1},
        "answered": 20 * second,
        "failures": {"503": 2},
    }
    for second in range(12)
]


def test_a_ramp_is_read_without_its_verdict(tmp_path: Path) -> None:
    path = tmp_path / "ramp.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in [*LINES, {"scaled_up_and_down": ["Decoder"]}]))
    assert read_ramp(path) == LINES


def test_a_file_without_a_ramp_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}\n")
    with pytest.raises(SystemExit, match=r"loadtests\.autoscaling"):
        read_ramp(tmp_path / "x")


def test_answers_a_second_are_those_of_the_last_seconds() -> None:
    assert rates(LINES)[1:] == pytest.approx([20.0] * 11)


def test_the_picture_has_every_stage_and_what_failed() -> None:
    above, below = draw(LINES).axes
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["Decoder", "Masker"]
    assert list(above.lines[0].get_ydata()) == [1] * 6 + [2] * 6
    assert "failed requests: 2" in below.get_title(loc="left")
