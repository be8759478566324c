"""From the bytes of an upload to the upright picture and the detector's canvas."""

from time import perf_counter

import cv2

from deployments.decoding.bmp import decode_bmp
from deployments.decoding.exif import swaps_sides, upright
from deployments.decoding.heif import decode_heif
from deployments.decoding.jpeg import decode_jpeg
from deployments.decoding.letterbox import fit, half_size, halve, shrink
from deployments.decoding.raster import Raster
from deployments.decoding.sniff import sniff
from deployments.decoding.vips import decode_vips
from deployments.errors import ImageDecodeError
from deployments.types import Decoded, ImageInfo, InputFormat, Picture
from models.tiling import tiling
from models.types import Canvas, Detail, UInt8Array

cv2.setNumThreads(1)  # one request, one thread: replicas scale


def decode(
    data: bytes | memoryview,
    *,
    max_pixels: int,
    keep_picture: bool,
    detail: Detail = "fast",
    same_canvas: bool = False,
) -> Decoded:
    """Decode one upload: first frame, upright, 8-bit.

    Safe to call from many threads at once.

    Args:
        data: The encoded picture as it was sent.
        max_pixels: Width x height that is accepted, judged from the header.
        keep_picture: True for masking. False leaves `picture` None and may decode at reduced size.
        detail: `max` makes the tiles as well.
        same_canvas: With `keep_picture`, the canvas is that of a decode without, to the bit, so that the
            same faces are found in the same order. A JPEG that is reduced there is decoded twice.

    Raises:
        UnsupportedFormatError: The bytes are none of the input formats.
        ImageTooLargeError: The header promises more than `max_pixels`.
        ImageDecodeError: Empty, truncated or corrupt.
    """
    started = perf_counter()
    encoded = bytes(data)
    if not encoded:
        raise ImageDecodeError("the upload is empty")
    image_format = sniff(encoded)
    is_whole = keep_picture or detail == "max"
    raster = _decode(encoded, image_format, max_pixels, is_whole=is_whole)
    seen = raster
    if same_canvas and keep_picture and image_format == "jpeg" and detail != "max":
        seen = _as_without_picture(encoded, raster, max_pixels)
    decoded = perf_counter()
    canvas = to_canvas(seen)
    tiles = cut_tiles(raster, canvas) if detail == "max" else ()
    scaled = perf_counter()
    picture = _to_picture(raster) if keep_picture else None
    return Decoded(
        info=ImageInfo(
            format=image_format,
            width=canvas.width,
            height=canvas.height,
            channels=raster.pixels.shape[2],
            size_bytes=len(encoded),
        ),
        canvas=canvas,
        picture=picture,
        decode_ms=(decoded - started + perf_counter() - scaled) * 1e3,
        preprocess_ms=(scaled - decoded) * 1e3,
        tiles=tiles,
    )


def _decode(data: bytes, image_format: InputFormat, max_pixels: int, *, is_whole: bool) -> Raster:
    """Give the upload to the one decoder of its format."""
    match image_format:
        case "jpeg":
            return decode_jpeg(data, max_pixels, keep_picture=is_whole)
        case "bmp":
            return decode_bmp(data, max_pixels)
        case "heif":
            return decode_heif(data, max_pixels)
        case _:
            return decode_vips(data, image_format, max_pixels)


def _as_without_picture(data: bytes, whole: Raster, max_pixels: int) -> Raster:
    """A JPEG as it is decoded for detection alone: anew, where that is at half its size."""
    if half_size(whole.width, whole.height) is None:
        return whole
    return decode_jpeg(data, max_pixels, keep_picture=False)


def to_canvas(raster: Raster) -> Canvas:
    """Scale first and turn the small result: turning the large picture would cost more."""
    width, height, scale = fit(raster.width, raster.height)
    pixels = raster.pixels
    is_whole = pixels.shape[:2] == (raster.height, raster.width)
    if is_whole and (half := half_size(raster.width, raster.height)):
        pixels = halve(pixels, half)
    pixels = upright(shrink(pixels, width, height), raster.orientation)
    stored = raster.width, raster.height
    upright_width, upright_height = stored[::-1] if swaps_sides(raster.orientation) else stored
    return Canvas(pixels=pixels, width=upright_width, height=upright_height, det_scale=scale)


def cut_tiles(raster: Raster, canvas: Canvas) -> tuple[Canvas, ...]:
    """The tiles of the upright picture, at its own size or as `models.tiling` reduces it.

    Args:
        raster: At full size.
        canvas: Of the same picture.
    """
    tiles = tiling(canvas.width, canvas.height)
    if not tiles:
        return ()
    size = (tiles[0].whole_width, tiles[0].whole_height)
    stored = size[::-1] if swaps_sides(raster.orientation) else size
    whole = upright(shrink(raster.pixels, *stored), raster.orientation)
    scale = size[0] / canvas.width
    return tuple(
        Canvas(
            whole[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width],
            canvas.width,
            canvas.height,
            scale,
            tile,
        )
        for tile in tiles
    )


def _to_picture(raster: Raster) -> Picture:
    """Turn the whole picture, and blank what full transparency hides: it must not leave the service."""
    return Picture(upright(_without_hidden(raster.pixels), raster.orientation), raster.icc_profile)


def _without_hidden(pixels: UInt8Array) -> UInt8Array:
    """Black where alpha is zero.

    Args:
        pixels: (h, w, 3) RGB or (h, w, 4) RGBA.
    """
    if pixels.shape[2] == 3:
        return pixels
    alpha = cv2.extractChannel(pixels, 3)
    return pixels if cv2.minMaxLoc(alpha)[0] > 0 else cv2.copyTo(pixels, alpha)  # type: ignore[return-value]
