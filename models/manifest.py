"""The weights that are known: where they come from, how to recognise them, what they are good for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RELEASE_URL: Final = "https://github.com/deepinsight/insightface/releases/download/v0.7"
LICENCE: Final = "InsightFace pretrained model: non-commercial research only"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One published model."""

    name: str
    archive: str  # file below RELEASE_URL
    member: str  # the ONNX file inside it
    size_bytes: int  # of the member
    sha256: str  # of the member
    wider_face_ap: tuple[float, float, float]  # published, easy/medium/hard, percent, VGA (SCRFD paper)
    equal_exports: dict[str, int] = field(default_factory=dict)  # sha256 -> bytes of the same weights
    licence: str = LICENCE

    @property
    def file_name(self) -> str:
        """Name of the weights in a local folder."""
        return f"{self.name}.onnx"

    def accepts(self, digest: str) -> bool:
        """Whether a file with this sha256 holds these weights."""
        return digest == self.sha256 or digest in self.equal_exports


OWN_MODEL: Final = "faceapi_small"
"""A small model of our own, trained by `models.training`; its card lies beside its weights."""
OWN_WEIGHTS: Final = Path(__file__).with_name("weights") / f"{OWN_MODEL}.onnx"
OWN_LICENCE: Final = "trained in part on WIDER FACE: non-commercial research only"

MODELS: Final[dict[str, ModelSpec]] = {
    spec.name: spec
    for spec in (  # most accurate first
        ModelSpec(
            "scrfd_10g",
            "buffalo_l.zip",
            "det_10g.onnx",
            16923827,
            "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            (95.16, 93.87, 83.05),
        ),
        ModelSpec(
            "scrfd_2.5g",
            "buffalo_m.zip",
            "det_2.5g.onnx",
            3292009,
            "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",
            (93.78, 92.16, 77.87),
            # The same tensors exported with dynamic height and width and named outputs.
            {"3eece5dcd20209130afda763dea813153930e583a86a1a640bd4e8d8ca3bca42": 3292075},
        ),
        ModelSpec(
            "scrfd_500m",
            "buffalo_s.zip",
            "det_500m.onnx",
            2524817,
            "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
            (90.57, 88.12, 68.51),
        ),
    )
}
