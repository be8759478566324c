"""What the stages send each other: their results, with every array as a parcel."""

from dataclasses import dataclass

from deployments.decoding.letterbox import fit
from deployments.transport import Locker, Parcel, receive, send
from deployments.types import Decoded, ImageInfo, Picture
from models.errors import InferenceError
from models.types import Canvas


@dataclass(frozen=True, slots=True)
class CanvasParcel:
    """A Canvas on its way to the Detector."""

    pixels: Parcel
    width: int
    height: int
    det_scale: float

    def unpack(self) -> Canvas:
        """Take the canvas; see `transport.receive`.

        Raises:
            InferenceError: It is not the whole picture: faces would be missed.
        """
        width, height, scale = fit(self.width, self.height)
        if self.pixels.shape != (height, width, 3) or self.det_scale != scale:
            raise InferenceError("the canvas is not of its picture's size")
        return Canvas(receive(self.pixels), self.width, self.height, self.det_scale)


@dataclass(frozen=True, slots=True)
class PictureParcel:
    """A Picture on its way to the Masker."""

    pixels: Parcel
    icc_profile: bytes | None

    def unpack(self) -> Picture:
        """Take the picture; see `transport.receive`."""
        return Picture(receive(self.pixels), self.icc_profile)


@dataclass(frozen=True, slots=True)
class DecodedParcel:
    """The Decoder's answer."""

    info: ImageInfo
    canvas: CanvasParcel
    picture: PictureParcel | None
    queue_ms: float  # before a thread was free
    decode_ms: float
    preprocess_ms: float

    @classmethod
    def pack(cls, decoded: Decoded, queue_ms: float, locker: Locker, upload: Parcel) -> "DecodedParcel":
        """Send the arrays of a decoded upload."""
        canvas, picture = decoded.canvas, decoded.picture
        pixels = send(canvas.pixels, locker, upload)
        return cls(
            decoded.info,
            CanvasParcel(pixels, canvas.width, canvas.height, canvas.det_scale),
            None
            if picture is None
            else PictureParcel(send(picture.pixels, locker, pixels), picture.icc_profile),
            queue_ms,
            decoded.decode_ms,
            decoded.preprocess_ms,
        )


@dataclass(frozen=True, slots=True)
class MaskedParcel:
    """The Masker's answer."""

    data: Parcel
    regions_masked: int
    queue_ms: float  # before a thread was free
    mask_ms: float
    encode_ms: float
    strength_raised: int
