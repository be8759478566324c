from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.graph import prepare
from models.scrfd import check_batches
from models.session import open_session
from models.training.export import export
from models.training.network import ARCHITECTURES, Detector


def trained_a_little(arch: str, *, landmarks: bool) -> Detector:
    """Random weights, and statistics as if pictures had gone through."""
    torch.manual_seed(3)
    detector = Detector(ARCHITECTURES[arch], landmarks=landmarks)
    detector.train()
    with torch.no_grad():
        for _ in range(3):
            detector(torch.randn(2, 3, 64, 64))
    return detector.eval()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("landmarks", [False, True])
def test_the_export_computes_what_was_trained(tmp_path: Path, arch: str, landmarks: bool) -> None:
    detector = trained_a_little(arch, landmarks=landmarks)
    export(detector, tmp_path / "m.onnx", "a test")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 96, 64, 3), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"pictures": pixels})
    with torch.no_grad():
        kinds = detector((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 128)
    expected = [*(level.sigmoid() for level in kinds[0]), *(level for kind in kinds[1:] for level in kind)]
    assert len(outputs) == (9 if landmarks else 6)
    for output, tensor in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, tensor.numpy(), atol=2e-4)
    assert onnx.load(tmp_path / "m.onnx").doc_string == "a test"


def test_an_export_is_served_like_any_other(tmp_path: Path) -> None:
    export(trained_a_little("faceapi_small", landmarks=False), tmp_path / "m.onnx", "a test")
    graph = prepare(tmp_path / "m.onnx", tmp_path / "prepared", "0" * 64)
    session = open_session(graph, "cpu", 1)
    assert not session.supports_landmarks
    check_batches(session)
