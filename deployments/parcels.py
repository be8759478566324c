"""What the stages send each other: their results, with every array as a parcel."""

from dataclasses import dataclass

from deployments.decoding.letterbox import fit
from deployments.transport import Locker, Parcel, receive, send
from deployments.types import Decoded, ImageInfo, Picture
from models.errors import InferenceError
from models.tiling import tiling
from models.types import Canvas, Tile


@dataclass(frozen=True, slots=True)
class CanvasParcel:
    """A Canvas on its way to the Detector."""

    pixels: Parcel
    width: int
    height: int
    det_scale: float
    tile: Tile | None = None

    @classmethod
    def pack(cls, canvas: Canvas, locker: Locker, behind: Parcel) -> "CanvasParcel":
        """Send its pixels; see `transport.send`."""
        pixels = send(canvas.pixels, locker, behind)
        return cls(pixels, canvas.width, canvas.height, canvas.det_scale, canvas.tile)

    def unpack(self) -> Canvas:
        """Take the canvas; see `transport.receive`.

        Raises:
            InferenceError: It is not the whole picture, or not the tile it says: faces would be missed.
        """
        if self.tile is None:
            width, height, scale = fit(self.width, self.height)
            is_right = self.det_scale == scale
        else:
            width, height = self.tile.width, self.tile.height
            is_right = self.tile in tiling(self.width, self.height)
        if self.pixels.shape != (height, width, 3) or not is_right:
            raise InferenceError("the canvas is not of its picture's size")
        return Canvas(receive(self.pixels), self.width, self.height, self.det_scale, self.tile)


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
    tiles: tuple[CanvasParcel, ...] = ()

    @classmethod
    def pack(cls, decoded: Decoded, queue_ms: float, locker: Locker, upload: Parcel) -> "DecodedParcel":
        """Send the arrays of a decoded upload."""
        picture = decoded.picture
        canvas = CanvasParcel.pack(decoded.canvas, locker, upload)
        last, tiles = canvas.pixels, []
        for tile in decoded.tiles:
            tiles.append(CanvasParcel.pack(tile, locker, last))
            last = tiles[-1].pixels
        return cls(
            decoded.info,
            canvas,
            None
            if picture is None
            else PictureParcel(send(picture.pixels, locker, last), picture.icc_profile),
            queue_ms,
            decoded.decode_ms,
            decoded.preprocess_ms,
            tuple(tiles),
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
