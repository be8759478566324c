"""What the decoding and masking stages exchange."""

from dataclasses import dataclass
from typing import Literal, Protocol

from models.types import Canvas, Detections, DetectParams, PassKind, UInt8Array

InputFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "heif"]
MaskMethod = Literal["gaussian", "pixelate", "solid", "elliptical"]
OutputFormat = Literal["jpeg", "png", "webp"]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Facts about an uploaded picture, upright."""

    format: InputFormat
    width: int  # pixels, after EXIF orientation
    height: int
    channels: int  # of the decoded picture: 3 RGB, 4 with alpha
    size_bytes: int  # of the upload


@dataclass(frozen=True, slots=True)
class Picture:
    """Every pixel of the upright picture, and the only metadata that may leave with it."""

    pixels: UInt8Array  # (H, W, 3) RGB or (H, W, 4) RGBA, alpha not premultiplied
    icc_profile: bytes | None  # an RGB profile, or None for sRGB


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of decoding one upload."""

    info: ImageInfo
    canvas: Canvas
    picture: Picture | None  # None when only detection was asked for
    decode_ms: float
    preprocess_ms: float  # scaling to the canvases
    tiles: tuple[Canvas, ...] = ()  # the picture at its own size, for `detail=max`


@dataclass(frozen=True, slots=True)
class MaskParams:
    """How faces are hidden and the result is written."""

    method: MaskMethod = "gaussian"
    strength: int = 199  # 1-999; kernel or block size in pixels for faces up to 200 px
    padding: float = 0.15  # 0.0-1.0, share of the box added on every side
    format: OutputFormat = "jpeg"
    quality: int = 95  # 1-100


@dataclass(frozen=True, slots=True)
class Masked:
    """A picture with its faces hidden, encoded."""

    data: bytes
    regions_masked: int
    mask_ms: float
    encode_ms: float


@dataclass(frozen=True, slots=True)
class PassFacts:
    """One run of the detector over the picture or a tile of it, as the API reports it."""

    kind: PassKind
    width: int  # of the canvas, pixels
    height: int
    inference_ms: float
    faces_added: int  # that no pass before it has


@dataclass(frozen=True, slots=True)
class Inferred:
    """Result of the Detector for one request, or for one pass of it."""

    detections: Detections
    model: str  # name of the model that answered
    queue_ms: float  # waiting for a batch and for the session
    blob_ms: float  # stacking the batch
    inference_ms: float  # of the whole batch: what this request waited for
    batch_size: int
    uncertain: Detections | None = None  # faces under the confidence; None: nobody asked
    passes: tuple[PassFacts, ...] = ()  # where `detail` asked for more than one


@dataclass(frozen=True, slots=True)
class Analysed:
    """A picture's faces and what finding them took."""

    info: ImageInfo
    det_scale: float
    decode_queue_ms: float  # waiting for a thread of the Decoder
    decode_ms: float
    preprocess_ms: float
    inferred: Inferred


@dataclass(frozen=True, slots=True)
class Anonymised:
    """A masked picture, and the faces that were found in it."""

    analysed: Analysed
    masked: Masked
    mask_queue_ms: float  # waiting for a thread of the Masker


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that answers, as readiness and the API report it."""

    name: str
    supports_landmarks: bool
    provider: str  # what computes, such as "CUDAExecutionProvider" or "OpenVINO CPU int8"
    licence: str


class FacePipeline(Protocol):
    """Every stage in its order. Made by `deployments.pipeline`; called by routers and one-shot commands.

    Raises any `FaceError`; `timeout_s` is what is left of the request's deadline.
    """

    async def served_model(self) -> ServedModel:
        """The model in use; raises ModelError or InferenceError while no detector can answer."""
        ...

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        """Find the faces of an encoded picture."""
        ...

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        """Find the faces of an encoded picture, hide them, and encode the result."""
        ...
