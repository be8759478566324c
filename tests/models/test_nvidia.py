"""What can be said of NVIDIA GPUs without one, and, marked `gpu`, what needs one."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

from deployments.decoding.decode import decode
from models.bucket_session import BUCKETS, BUFFERS, BucketSession
from models.errors import InferenceError, ProviderError
from models.gpu_graph import GpuPrecision, gpu_form
from models.graph import prepare
from models.host_memory import CudaMemory
from models.nvidia import (
    cuda_options,
    has_device,
    nodes_on_cpu,
    open_cuda,
    open_tensorrt,
    tensorrt_options,
)
from models.onnxruntime_session import CPU, OnnxRuntimeSession, session_options
from models.postprocess import postprocess
from models.raw_faces import RawFaces
from models.scrfd import check_batches
from models.types import Canvas, DetectParams
from tests.models.conftest import canvas_of
from tests.tiny_scrfd import red_block_picture

CONFIG = Path(__file__).parents[2] / "configs" / "gpu.yaml"

# Operators with a kernel in ONNX Runtime's CUDA provider, for the types that they have here.
ON_CUDA = {"Add", "Cast", "Concat", "Conv", "Expand", "GatherElements", "Less", "Mul", "Reshape", "Sigmoid"}
ON_CUDA |= {"AveragePool", "MaxPool", "Relu", "Resize", "Slice", "Sub", "TopK", "Transpose", "Where"}


def test_what_runs_on_the_cpu_is_named(prepared: Path) -> None:
    options = session_options(1)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(gpu_form(prepared, "fp32"), options, providers=[CPU])
    assert {"Conv", "GatherElements", "TopK"} <= set(nodes_on_cpu(session)) <= ON_CUDA


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g", "scrfd_10g_RANDOM_WEIGHTS"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_no_shape_is_computed_while_real_weights_run(
    shared_dir: Path, tmp_path: Path, name: str, precision: GpuPrecision
) -> None:
    """CUDA graphs need every node on the device, where those that compute shapes never are."""
    prepared = prepare(shared_dir / "models" / f"{name}.onnx", tmp_path, name)
    graph = onnx.load(gpu_form(prepared, precision)).graph
    assert {node.op_type for node in graph.node} <= ON_CUDA


def test_tensorrt_is_tuned_for_the_batches_of_the_config() -> None:
    (application,) = yaml.safe_load(CONFIG.read_text())["applications"]
    (detector,) = [stage for stage in application["deployments"] if stage["name"] == "Detector"]
    _, options = tensorrt_options(Path("engines"), "fp16")
    assert (options["trt_profile_min_shapes"], options["trt_profile_max_shapes"]) == (
        "pictures:1x640x640x3",
        "pictures:32x640x640x3",
    )
    best = detector["user_config"]["max_batch_size"]
    assert options["trt_profile_opt_shapes"] == f"pictures:{best}x640x640x3"
    assert best in BUCKETS


def test_fp32_is_whole_fp32() -> None:
    assert cuda_options("fp32", captures=True)[1]["use_tf32"] == "0"
    assert tensorrt_options(Path("engines"), "fp32")[1]["trt_fp16_enable"] == "0"


@pytest.mark.skipif(has_device(), reason="this machine may have TensorRT")
def test_missing_tensorrt_says_what_to_install(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.nvidia.has_device", lambda: True)
    with pytest.raises(ProviderError, match=r"libnvinfer.*pip install 'tensorrt-cu\d+<11'"):
        open_tensorrt(prepared, "fp16")


@pytest.mark.skipif(has_device(), reason="this machine may have CUDA")
def test_a_device_without_cuda_is_an_error_and_not_onnx_runtimes_cpu(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.nvidia.has_device", lambda: True)
    with pytest.raises(ProviderError):
        open_cuda(prepared, "fp16")


Opener = Callable[[Path, GpuPrecision], BucketSession]


@pytest.fixture(params=["cuda", "tensorrt"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Skips where there is no device, or no TensorRT."""
    if not has_device():
        pytest.skip("this machine shows no NVIDIA device")
    if request.param == "cuda":
        return open_cuda

    def open_or_skip(graph: Path, precision: GpuPrecision) -> BucketSession:
        try:
            return open_tensorrt(graph, precision)
        except ProviderError as error:
            pytest.skip(str(error))

    return open_or_skip


def first_box(raw: RawFaces, canvas: Canvas) -> list[float]:
    found = postprocess(raw, canvas, DetectParams())
    assert len(found.boxes) == 1
    return [float(value) for value in found.boxes[0]]


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 1e-2)])
def test_the_device_gives_what_the_cpu_gives(
    opener: Opener, prepared: Path, precision: GpuPrecision, tolerance: float
) -> None:
    session = opener(prepared, precision)
    session.make_ready(640, 640)
    check_batches(session)
    pictures = np.stack([red_block_picture(640, 640, {(i, 2): 255, (9, 4 + i): 200}) for i in range(5)])
    canvas = canvas_of(pictures[0])
    expected = OnnxRuntimeSession(prepared, 1).run(pictures)
    for ours, theirs in zip(session.run(pictures), expected, strict=True):
        found, wanted = (postprocess(raw, canvas, DetectParams(0.3)) for raw in (ours, theirs))
        assert len(found.boxes) == 2
        np.testing.assert_allclose(found.scores, wanted.scores, atol=tolerance)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=50 * tolerance)


@pytest.mark.gpu
def test_every_replay_sees_the_pictures_it_was_given(opener: Opener, prepared: Path) -> None:
    session = opener(prepared, "fp16")
    session.make_ready(640, 640)
    pictures = np.stack([red_block_picture(640, 640, {(i % 20, i // 20): 255}) for i in range(40)])
    canvas = canvas_of(pictures[0])
    for size in BUCKETS:
        for start in range(2 * BUFFERS):
            answers = session.run(pictures[start : start + size])
            columns = [first_box(raw, canvas)[0] // 32 for raw in answers]
            assert columns == [(start + i) % 20 for i in range(size)]


@pytest.mark.gpu
def test_what_goes_to_the_device_through_page_locked_memory_comes_back() -> None:
    if not has_device():
        pytest.skip("this machine shows no NVIDIA device")
    ort.preload_dlls()
    memory = CudaMemory()
    sent, back = memory.zeros((3, 5, 7), np.float32), memory.zeros((3, 5, 7), np.float32)
    sent[:] = np.arange(105, dtype=np.float32).reshape(3, 5, 7)
    buffer = ort.OrtValue.ortvalue_from_shape_and_type([3, 5, 7], np.float32, "cuda")
    memory.to_device(sent, buffer)
    memory.to_host(buffer, back)
    np.testing.assert_array_equal(back, sent)
    with pytest.raises(InferenceError, match="CUDA failed: "):
        memory.allocate(2**60)


@pytest.mark.gpu
def test_cuda_graphs_are_captured_and_nothing_runs_on_the_cpu(
    prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not has_device():
        pytest.skip("this machine shows no NVIDIA device")
    with caplog.at_level(logging.INFO):
        session = open_cuda(prepared, "fp16")
        session.make_ready(640, 640)
    assert session.provider == "CUDAExecutionProvider fp16"
    assert caplog.text == ""


@pytest.mark.gpu
@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g"])
def test_real_weights_find_the_same_faces_on_the_device(
    opener: Opener, shared_dir: Path, tmp_path: Path, name: str
) -> None:
    prepared = prepare(shared_dir / "models" / f"{name}.onnx", tmp_path, name)
    session, reference = opener(prepared, "fp16"), OnnxRuntimeSession(prepared, 2)
    check_batches(session)
    for path in sorted((shared_dir / "data" / "wider_val_subset" / "images").rglob("*.jpg"))[:6]:
        canvas = decode(path.read_bytes(), max_pixels=10**8, keep_picture=False).canvas
        picture = np.zeros((1, 640, 640, 3), np.uint8)
        picture[0, : canvas.pixels.shape[0], : canvas.pixels.shape[1]] = canvas.pixels
        (ours,), (theirs,) = session.run(picture), reference.run(picture)
        found = postprocess(ours, canvas, DetectParams(0.5))
        more, fewer = (postprocess(theirs, canvas, DetectParams(at)) for at in (0.48, 0.52))
        assert len(fewer.boxes) <= len(found.boxes) <= len(more.boxes)
        for box, score in zip(found.boxes, found.scores, strict=True):
            distances = np.abs(more.boxes - box).max(axis=1)
            assert distances.min() < 0.02 * max(50.0, float((box[2:] - box[:2]).max()))
            assert abs(more.scores[distances.argmin()] - score) < 2e-2
