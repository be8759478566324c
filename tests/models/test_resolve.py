from pathlib import Path

import onnx
import pytest

from models.errors import ModelUnavailableError, ReleaseUnreachableError
from models.fetch import fetch_weights
from models.manifest import MODELS, OWN_MODEL, OWN_WEIGHTS
from models.resolve import ModelSource, resolve_model

NOBODY = "http://127.0.0.1:9"


def test_without_weights_and_without_network_our_own_model_is_served_and_said(tmp_path: Path) -> None:
    resolved = resolve_model(ModelSource(None, (), tmp_path, NOBODY))
    assert (resolved.name, resolved.setting) == (OWN_MODEL, OWN_MODEL)
    (note,) = resolved.notes
    assert "FOR TRYING OUT" in note
    assert "scrfd_10g" in note  # how to get the best one


def test_a_release_that_nobody_answers_for_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unreachable(spec: object, *_: object) -> Path:
        asked.append(spec.name)  # type: ignore[attr-defined]
        raise ReleaseUnreachableError("nobody answers")

    monkeypatch.setattr("models.resolve.fetch_weights", unreachable)
    assert resolve_model(ModelSource(None, (), tmp_path)).name == OWN_MODEL
    assert asked == ["scrfd_10g"]


def test_a_release_without_an_archive_is_asked_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def missing(spec: object, *_: object) -> Path:
        asked.append(spec.name)  # type: ignore[attr-defined]
        raise ModelUnavailableError("404")

    monkeypatch.setattr("models.resolve.fetch_weights", missing)
    assert resolve_model(ModelSource(None, (), tmp_path)).name == OWN_MODEL
    assert asked == list(MODELS)


def test_a_refused_connection_is_an_unreachable_release(tmp_path: Path) -> None:
    with pytest.raises(ReleaseUnreachableError, match="face-api models fetch scrfd_500m"):
        fetch_weights(MODELS["scrfd_500m"], tmp_path, NOBODY)


def test_a_named_model_has_no_substitute(tmp_path: Path) -> None:
    for name in MODELS:
        with pytest.raises(ModelUnavailableError, match=name):
            resolve_model(ModelSource(name, (), tmp_path, NOBODY))


def test_our_own_model_can_be_named(tmp_path: Path) -> None:
    resolved = resolve_model(ModelSource(OWN_MODEL, (), tmp_path, NOBODY))
    assert (resolved.path, resolved.notes) == (OWN_WEIGHTS, ())
    assert "non-commercial" in resolved.licence


def test_our_own_weights_are_small_and_have_a_card() -> None:
    assert OWN_WEIGHTS.stat().st_size <= 3 * 2**20
    onnx.checker.check_model(onnx.load(OWN_WEIGHTS))
    card = OWN_WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    for part in ("WIDER FACE", "Caltech-101", "CC0", "seed", "landmarks"):
        assert part in card
