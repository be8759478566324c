"""The GPU form on the CPU: ONNX Runtime runs it there too, fp16 included."""

from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from deployments.decoding.decode import decode
from models.bucket_session import BucketSession
from models.errors import InferenceError, ModelGraphError, SelfCheckError
from models.evaluation import load_dataset
from models.gpu_graph import BEST, BEST_OF_STRIDE, RECIPE, GpuPrecision, gpu_form
from models.graph import prepare
from models.host_memory import OrdinaryMemory
from models.nvidia import ROUNDING
from models.onnxruntime_session import CPU, OnnxRuntimeSession, session_options
from models.postprocess import postprocess
from models.raw_faces import STRIDES, HeadOutputs, RawFaces
from models.scrfd import _different_pictures, check_batches
from models.types import Canvas, Detections, DetectParams, Float32Array, UInt8Array
from tests.models.conftest import canvas_of
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd

ANCHORS = {stride: 2 * (640 // stride) ** 2 for stride in STRIDES}


def on_cpu(prepared: Path, precision: GpuPrecision, threads: int = 1) -> BucketSession:
    form = gpu_form(prepared, precision)
    session = ort.InferenceSession(form, session_options(threads), providers=[CPU])
    return BucketSession(session, CPU, memory=OrdinaryMemory(), rounding=ROUNDING[precision])


def faces(raw: RawFaces, canvas: Canvas, confidence: float) -> Detections:
    return postprocess(raw, canvas, DetectParams(confidence))


def assert_same(ours: Detections, theirs: Detections, *, scores: float, pixels: float) -> None:
    assert ours.candidates == theirs.candidates
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=scores)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=pixels)
    np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=pixels)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return prepare(write_tiny_scrfd(folder / "tiny.onnx"), folder, "abc")


@pytest.fixture(scope="module")
def reference(tiny: Path) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(tiny, 1)


@pytest.fixture(scope="module")
def tail(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    """The tiny model's GPU form from the heads on: logits, boxes and landmarks of every anchor in."""
    heads = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    heads[:3] = [f"{name}_logit" for name in heads[:3]]
    path = tmp_path_factory.mktemp("tail") / "tail.onnx"
    model = onnx.load(gpu_form(tiny, "fp32"))
    made = {name: node for node in model.graph.node for name in node.output}
    for node in [made[name] for name in heads]:
        model.graph.node.remove(node)
    del model.graph.input[:]
    for index, name in enumerate(heads):
        shape: list[str | int | None] = ["N", ANCHORS[STRIDES[index % 3]], (1, 4, 10)[index // 3]]
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    needed = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    onnx.save(model, path)
    return ort.InferenceSession(path, session_options(1), providers=[CPU])


def random_heads(seed: int, over: tuple[int, int, int], count: int) -> list[Float32Array]:
    """Logits, boxes, landmarks (N, A, C) with so many logits above 0 in each stride."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(0.1, 6, sum(over))  # far enough apart for two sigmoids to agree on the order
    ranks = [rng.permutation(len(levels)) for _ in range(count)]
    logits, boxes, points = [], [], []
    first = 0
    for stride, positive in zip(STRIDES, over, strict=True):
        anchors = ANCHORS[stride]
        values = -rng.uniform(0.1, 9, (count, anchors, 1)).astype(np.float32)
        for row, rank in zip(values, ranks, strict=True):
            row[rng.choice(anchors, positive, replace=False), 0] = levels[rank[first : first + positive]]
        first += positive
        logits.append(values)
        boxes.append(rng.uniform(0.2, 4, (count, anchors, 4)).astype(np.float32))
        points.append(rng.uniform(-2, 2, (count, anchors, 10)).astype(np.float32))
    return [*logits, *boxes, *points]


def through(tail: ort.InferenceSession, heads: list[Float32Array]) -> list[RawFaces]:
    inputs = dict(zip([item.name for item in tail.get_inputs()], heads, strict=True))
    names = [item.name for item in tail.get_outputs()]
    return list(BucketSession._faces(dict(zip(names, tail.run(names, inputs), strict=True))))


def every_anchor(heads: list[Float32Array], row: int) -> HeadOutputs:
    scores = [(1 / (1 + np.exp(-part[row]))).astype(np.float32) for part in heads[:3]]
    return HeadOutputs([*scores, *(part[row] for part in heads[3:])])


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.sampled_from([0, 1, 40, most]) for most in BEST_OF_STRIDE.values()]),
)
def test_the_best_anchors_give_the_faces_that_all_anchors_give(
    tail: ort.InferenceSession, seed: int, over: tuple[int, int, int]
) -> None:
    heads = random_heads(seed, over, 2)
    canvas = canvas_of(np.zeros((640, 640, 3), np.uint8))
    for row, best in enumerate(through(tail, heads)):
        expected = faces(every_anchor(heads, row), canvas, 0.5)
        assert expected.candidates == sum(over)
        assert_same(faces(best, canvas, 0.5), expected, scores=1e-6, pixels=1e-3)


def test_of_more_than_can_come_out_the_best_of_each_stride_do(tail: ort.InferenceSession) -> None:
    heads = random_heads(1, (3000, 900, 800), 1)
    (best,) = through(tail, heads)
    found, every = best.candidates(0.5), every_anchor(heads, 0).candidates(0.5)
    assert len(found.scores) == BEST
    first = 0
    for stride in STRIDES:
        ours, all_of_it = (
            np.sort(x.scores[(x.anchors >= first) & (x.anchors < first + ANCHORS[stride])])[::-1]
            for x in (found, every)
        )
        np.testing.assert_allclose(ours, all_of_it[: BEST_OF_STRIDE[stride]], atol=1e-6)
        first += ANCHORS[stride]


def test_one_score_that_is_no_number_always_comes_out(tail: ort.InferenceSession) -> None:
    heads = random_heads(2, (900, 900, 800), 2)
    heads[0][1, :, 0] = np.inf  # what overflowed beside it does not hide it: it ranks higher still
    heads[0][1, 5000, 0] = np.nan
    other, broken = through(tail, heads)
    other.candidates(0.5)
    with pytest.raises(InferenceError, match="not numbers"):
        broken.candidates(0.99)


@pytest.mark.parametrize(("precision", "scores", "pixels"), [("fp32", 1e-5, 1e-3), ("fp16", 5e-3, 0.1)])
def test_pictures_give_the_faces_of_the_reference(
    tiny: Path, reference: OnnxRuntimeSession, precision: GpuPrecision, scores: float, pixels: float
) -> None:
    session = on_cpu(tiny, precision)
    pictures = np.stack([red_block_picture(640, 640, {(i, 2): 255, (9, 4 + i): 200}) for i in range(3)])
    canvas = canvas_of(pictures[0])
    expected = reference.run(pictures)
    for ours, theirs in zip(session.run(pictures), expected, strict=True):
        found = faces(ours, canvas, 0.3)
        assert len(found.boxes) == 2
        assert_same(found, faces(theirs, canvas, 0.3), scores=scores, pixels=pixels)
    check_batches(session)


def test_a_model_without_landmarks_has_none(tmp_path: Path) -> None:
    weights = write_tiny_scrfd(tmp_path / "tiny.onnx", landmarks=False)
    session = on_cpu(prepare(weights, tmp_path, "abc"), "fp16")
    assert not session.supports_landmarks
    picture = red_block_picture(640, 640, {(1, 2): 255})
    (raw,) = session.run(picture[None])
    found = faces(raw, canvas_of(picture), 0.5)
    assert found.landmarks is None
    assert found.boxes.tolist() == [[32, 64, 64, 96]]


def test_fp16_keeps_no_float32_but_at_the_ends(tiny: Path) -> None:
    graph = onnx.load(gpu_form(tiny, "fp16")).graph
    of_float = {item.name for item in graph.initializer if item.data_type == TensorProto.FLOAT}
    assert of_float <= {"not_a_number", "twice_the_size"}
    assert [output.type.tensor_type.elem_type for output in graph.output] == [
        TensorProto.FLOAT,
        TensorProto.INT64,
        TensorProto.FLOAT,
        TensorProto.FLOAT,
    ]


def test_a_form_is_made_once_for_each_precision(tiny: Path) -> None:
    form = gpu_form(tiny, "fp16")
    written = form.stat().st_mtime_ns
    assert gpu_form(tiny, "fp16") == form
    assert form.stat().st_mtime_ns == written
    assert form.name.endswith(f"-g{RECIPE}-fp16.onnx")
    assert gpu_form(tiny, "fp32") != form


def test_weights_beyond_fp16_are_refused_with_what_to_set(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    (weight,) = [item for item in model.graph.initializer if item.name == "bbox_8_w"]
    weight.CopyFrom(numpy_helper.from_array(np.full(weight.dims, 1e6, np.float32), weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(ModelGraphError, match="FACE_API_PRECISION=fp32"):
        gpu_form(tmp_path / "large.onnx", "fp16")
    gpu_form(tmp_path / "large.onnx", "fp32")


def test_a_form_that_gives_a_picture_another_ones_scores_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(gpu_form(tiny, "fp16"))
    first = np.array([0], np.int64)  # every picture gets the scores of the first
    model.graph.initializer.append(numpy_helper.from_array(first, "first_picture"))
    gather = onnx.helper.make_node("Gather", ["logits_8_of_best", "first_picture"], ["mixed"], axis=0)
    twice = onnx.helper.make_node("Mul", ["logits_8_of_best", "nothing"], ["no_logits"])
    added = onnx.helper.make_node("Add", ["no_logits", "mixed"], ["first_logits"])
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    nodes = list(model.graph.node)
    at = next(index for index, node in enumerate(nodes) if node.output[0] == "all_scores_8_of_best")
    nodes[at].input[0] = "first_logits"
    nodes[at:at] = [gather, twice, added]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "mixing.onnx")
    session = ort.InferenceSession(tmp_path / "mixing.onnx", session_options(1), providers=[CPU])
    with pytest.raises(SelfCheckError):
        check_batches(BucketSession(session, CPU, memory=OrdinaryMemory(), rounding=ROUNDING["fp16"]))


def photos(shared_dir: Path, count: int) -> list[Canvas]:
    dataset = shared_dir / "data" / "wider_val_subset"
    images = load_dataset(dataset)
    images = [images[index * len(images) // count] for index in range(count)]
    files = [(dataset / "images" / image.file).read_bytes() for image in images]
    return [decode(data, max_pixels=10**8, keep_picture=False).canvas for data in files]


def padded(canvas: Canvas) -> UInt8Array:
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[: canvas.pixels.shape[0], : canvas.pixels.shape[1]] = canvas.pixels
    return picture


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g", "scrfd_10g_RANDOM_WEIGHTS"])
def test_real_weights_find_the_same_faces(shared_dir: Path, tmp_path: Path, name: str) -> None:
    prepared = prepare(shared_dir / "models" / f"{name}.onnx", tmp_path, name)
    reference, session = OnnxRuntimeSession(prepared, 2), on_cpu(prepared, "fp32", 2)
    check_batches(session)
    for canvas in photos(shared_dir, 6):
        picture = padded(canvas)[None]
        (ours,), (theirs,) = session.run(picture), reference.run(picture)
        expected = faces(theirs, canvas, 0.3)
        if "RANDOM" not in name:
            assert expected.candidates < 800
            assert_same(faces(ours, canvas, 0.3), expected, scores=1e-3, pixels=1e-3)
            assert_same(faces(ours, canvas, 0.5), faces(theirs, canvas, 0.5), scores=1e-3, pixels=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g"])
def test_real_weights_in_fp16_stay_near(shared_dir: Path, tmp_path: Path, name: str) -> None:
    prepared = prepare(shared_dir / "models" / f"{name}.onnx", tmp_path, name)
    reference, session = OnnxRuntimeSession(prepared, 2), on_cpu(prepared, "fp16", 2)
    check_batches(session)
    raw = []
    for canvas in photos(shared_dir, 4):
        picture = padded(canvas)[None]
        (ours,), (theirs,) = session.run(picture), reference.run(picture)
        raw.append(ours)
        found, expected = faces(ours, canvas, 0.5), faces(theirs, canvas, 0.49)
        for box, score in zip(found.boxes, found.scores, strict=True):
            distances = np.abs(expected.boxes - box).max(axis=1)
            assert distances.min() < 0.02 * max(50.0, float((box[2:] - box[:2]).max()))
            assert abs(expected.scores[distances.argmin()] - score) < 5e-3
        assert len(found.boxes) >= len(faces(theirs, canvas, 0.51).boxes)
    checked = session.run(_different_pictures(640, 640))
    assert (
        min(a.difference(b) for some in (raw, checked) for a, b in combinations(some, 2)) > session.rounding
    )
