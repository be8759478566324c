"""What the decoding and masking stages exchange."""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from models.types import Canvas, Detail, Detections, DetectParams, Float32Array, PassKind, UInt8Array

NO_BOXES: Final[Float32Array] = np.empty((0, 4), np.float32)

InputFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "heif"]
MaskMethod = Literal["gaussian", "pixelate", "solid", "elliptical"]
MaskShape = Literal["rect", "ellipse"]

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
class DecodeParams:
    """What is wanted of an upload."""

    keep_picture: bool  # every pixel, for masking; False may decode at reduced size
    detail: Detail = "fast"  # max: the tiles as well
    same_canvas: bool = False  # beside the picture, the canvas that there would be without it, to the bit


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
class Patch:
    """A picture that is to lie over faces."""

    pixels: UInt8Array  # (h, w, 3) RGB


MaskFill = Literal["blur", "pixelate", "solid", "image"] | tuple[int, int, int] | Patch
"""What lies over a face: made of its own pixels, black, one colour (R, G, B), or another picture, which is
`image` until it is decoded."""

Region = tuple[float, float, float, float]
"""x, y, width, height in pixels of the upright picture: finite, from 0 on, not empty."""


@dataclass(frozen=True, slots=True)
class FaceChoice:
    """Which of the faces found are hidden: all, unless the client asked for less in so many words."""

    skip: tuple[int, ...] = ()  # indices, in the order of the answer of a detection
    only: tuple[int, ...] | None = None  # indices of all that are hidden; None: of every face
    face_count: int | None = None  # so many were found when the indices were chosen; with them never None
    min_face: int = 0  # pixels of the longer side; smaller faces are left as they are


EVERY_FACE: Final = FaceChoice()


@dataclass(frozen=True, slots=True)
class MaskParams:
    """How faces are hidden and the result is written."""

    method: MaskMethod = "gaussian"
    strength: int = 199  # 1-999; kernel or block size in pixels for faces up to 200 px
    padding: float = 0.15  # 0.0-1.0, share of the box added on every side
    format: OutputFormat = "jpeg"
    quality: int = 95  # 1-100
    shape: MaskShape | None = None  # None: the method's
    fill: MaskFill | None = None  # None: the method's
    has_floor: bool = True  # a strength that would not hide a face is raised
    regions: tuple[Region, ...] = ()  # hidden as well, without padding
    choice: FaceChoice = EVERY_FACE
    fill_image: bytes | None = None  # an encoded picture; of fill="image", None otherwise
    lossless: bool = False  # change nothing of a JPEG but the blocks under masks; quality is the file's own
    verify: bool = False  # look at the masked picture again, and hide harder what is still found
    as_detect: bool = False  # find what a detection finds, to the bit, whatever it costs
    black: tuple[Region, ...] = ()  # hidden in black, over everything else: what was still found

    @property
    def same_canvas(self) -> bool:
        """Whether to look at just what a detection looks at: always where faces are named by its numbers."""
        return self.as_detect or self.choice.face_count is not None

    @property
    def region_count(self) -> int:
        """How many regions are hidden beside faces."""
        return len(self.regions) + len(self.black)


@dataclass(frozen=True, slots=True)
class Masked:
    """A picture with its faces hidden, encoded."""

    data: bytes
    regions_masked: int
    mask_ms: float
    encode_ms: float
    strength_raised: int = 0  # regions for which the strength asked for would not have been enough


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
    faces_skipped: int = 0  # found, and left as they are because the client asked for it
    residual_faces: int | None = None  # still found in the first masked picture; None: nobody looked
    verify_ms: float | None = None  # all that looking again took
    hidden: Float32Array = field(default_factory=lambda: NO_BOXES)  # (N, 4) faces without padding, regions


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that answers, as readiness and the API report it."""

    name: str
    supports_landmarks: bool
    provider: str  # what computes, such as "CUDAExecutionProvider" or "OpenVINO CPU int8"
    licence: str
    digest: str = ""  # SHA-256 of its file


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
