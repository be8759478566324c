import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import models.session
from models.activation_ranges import Ranges
from models.errors import InferenceError, PrecisionError, ProviderError
from models.onnxruntime_session import OnnxRuntimeSession
from models.openvino_session import OpenVinoSession
from models.scrfd import check_batches
from models.session import Precision, Provider, open_session
from tests.tiny_scrfd import red_block_picture

HAS_GPU = any(Path("/dev").glob("nvidia[0-9]*"))


@pytest.fixture
def ranges_dir(measured: Ranges, tmp_path: Path) -> Path:
    measured.save(tmp_path / "ranges" / "tiny.json")
    return tmp_path / "ranges"


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_and_not_a_slow_cpu(prepared: Path, provider: Provider) -> None:
    with pytest.raises(ProviderError, match=f"FACE_API_PROVIDER={provider}, but CUDA cannot be used"):
        open_session(prepared, provider, 1)


@pytest.mark.skipif(HAS_GPU, reason="auto would take the GPU")
def test_auto_takes_openvino_in_the_best_precision_there_is(
    prepared: Path, ranges_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.session, "multiplies_int8_exactly", lambda: True)
    assert open_session(prepared, "auto", 1, "auto", [ranges_dir]).provider == "OpenVINO CPU int8"
    assert open_session(prepared, "auto", 1).provider in {"OpenVINO CPU bf16", "OpenVINO CPU fp32"}
    monkeypatch.setattr(models.session, "multiplies_int8_exactly", lambda: False)
    assert open_session(prepared, "auto", 1, "auto", [ranges_dir]).provider != "OpenVINO CPU int8"


@pytest.mark.skipif(HAS_GPU, reason="auto would take the GPU")
def test_auto_without_openvino_warns_and_says_what_runs(
    prepared: Path, no_openvino: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_session(prepared, "auto", 1).provider == "CPUExecutionProvider"
    assert "OpenVINO cannot be loaded" in caplog.text


@pytest.mark.parametrize(
    ("provider", "precision"), [("openvino", "auto"), ("auto", "bf16"), ("auto", "int8")]
)
def test_openvino_that_was_asked_for_is_never_replaced(
    prepared: Path, no_openvino: None, ranges_dir: Path, provider: Provider, precision: Precision
) -> None:
    with pytest.raises(ProviderError, match="OpenVINO cannot be loaded"):
        open_session(prepared, provider, 1, precision, [ranges_dir])


def test_int8_without_ranges_names_the_command_that_makes_them(prepared: Path) -> None:
    with pytest.raises(PrecisionError, match="face-api models calibrate"):
        open_session(prepared, "openvino", 1, "int8")


@pytest.mark.parametrize(
    ("provider", "precision", "able"),
    [
        ("cpu", "int8", "openvino"),
        ("cpu", "fp16", "cuda or tensorrt"),
        ("openvino", "fp16", "cuda or tensorrt"),
        ("cuda", "bf16", "openvino"),
        ("tensorrt", "int8", "openvino"),
    ],
)
def test_a_precision_the_provider_has_not_is_refused_with_who_has_it(
    prepared: Path, provider: Provider, precision: Precision, able: str
) -> None:
    with pytest.raises(PrecisionError, match=f"PROVIDER={able}; {provider} computes in "):
        open_session(prepared, provider, 1, precision)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_fp16_without_a_device_is_an_error_and_not_another_precision(prepared: Path) -> None:
    with pytest.raises(ProviderError, match="FACE_API_PRECISION=fp16, but CUDA cannot be used"):
        open_session(prepared, "auto", 1, "fp16")


def test_fp32_is_what_it_says_on_both_engines(prepared: Path, ranges_dir: Path) -> None:
    assert open_session(prepared, "cpu", 1, "fp32").provider == "CPUExecutionProvider"
    assert open_session(prepared, "openvino", 1, "fp32", [ranges_dir]).provider == "OpenVINO CPU fp32"


def test_a_rectangle_gives_what_the_square_gives(prepared: Path) -> None:
    square = red_block_picture(640, 640, {(1, 2): 255, (11, 9): 200})
    reference = OnnxRuntimeSession(prepared, 1).run(square[None])[0].outputs
    outputs = OpenVinoSession(prepared, "fp32", 1).run(square[None, :320])[0].outputs
    for ours, theirs in zip(outputs, reference, strict=True):
        assert len(ours) * 2 == len(theirs)
        np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-5)


@pytest.mark.parametrize("precision", ["auto", "int8", "fp32"])
def test_a_batch_on_openvino_is_its_pictures_one_by_one(
    prepared: Path, ranges_dir: Path, precision: Precision
) -> None:
    ranges = [ranges_dir] if precision == "int8" else []
    check_batches(open_session(prepared, "openvino", 1, precision, ranges))


def test_answers_outlive_the_next_run(prepared: Path) -> None:
    session = OpenVinoSession(prepared, "fp32", 1)
    first = session.run(red_block_picture(384, 640, {(1, 2): 255})[None])[0].outputs
    kept = [output.copy() for output in first]
    session.run(np.full((1, 384, 640, 3), 255, np.uint8))
    for before, after in zip(kept, first, strict=True):
        np.testing.assert_array_equal(before, after)


def test_shapes_made_ready_by_many_threads_are_compiled_once(prepared: Path) -> None:
    session = OpenVinoSession(prepared, "fp32", 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda side: session.make_ready(side, 640), [384, 480] * 8))
    assert set(session._ready) == {(384, 640), (480, 640)}
    picture = red_block_picture(480, 640, {(3, 3): 255})[None]
    expected = OpenVinoSession(prepared, "fp32", 1).run(picture)[0].outputs
    for ours, theirs in zip(session.run(picture)[0].outputs, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_shape_the_graph_cannot_have_is_an_inference_error(prepared: Path) -> None:
    with pytest.raises(InferenceError, match="cannot run"):
        OpenVinoSession(prepared, "fp32", 1).make_ready(384, 0)


def test_openvino_sends_no_telemetry(prepared: Path, tmp_path: Path) -> None:
    """Its telemetry would make the folder `intel` in the home and a thread that sends."""
    code = """if True:
        import sys, threading
        from pathlib import Path
        from models.openvino_session import OpenVinoSession
        OpenVinoSession(Path(sys.argv[1]), "fp32", 1).make_ready(384, 640)
        print(threading.active_count(), [m for m in sys.modules if m.startswith("openvino_telemetry.")])
    """
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(prepared)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "1 []"
    assert list(home.iterdir()) == []
