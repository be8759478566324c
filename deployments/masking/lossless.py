"""Hide the faces of a JPEG in its coefficients: every block that is not under a mask stays bit for bit."""

import time

import numpy as np

from deployments.decoding.exif import (
    read_orientation,
    stored_regions,
    swaps_sides,
    turned_back,
    upright,
    upright_regions,
)
from deployments.decoding.icc import colour_space, sound_profile
from deployments.decoding.jpeg_header import JpegHeader, read_jpeg_header
from deployments.decoding.sniff import sniff
from deployments.errors import ImageDecodeError, LosslessRefusedError, MaskingError, UnencodableError
from deployments.masking.effects import ellipse
from deployments.masking.footprint import Mask
from deployments.masking.jpeg_frame import Frame, read_frame
from deployments.masking.jpeg_segments import JFIF, with_segments
from deployments.masking.layer import Window
from deployments.masking.mask import Areas, areas_of, hide_areas, reaches_corners
from deployments.masking.runs import Runs, run_length
from deployments.masking.turbojpeg import Planes, look, rewrite
from deployments.masking.window import Written, hide_in, windows_of
from deployments.types import Masked, MaskParams
from models.types import Float32Array, Int64Array, UInt8Array


def check_lossless(data: bytes, params: MaskParams) -> None:
    """Refuse early what cannot be masked so.

    Raises:
        UnencodableError: Another format than jpeg was asked for.
        LosslessRefusedError: It is no JPEG, or of a kind whose blocks cannot be changed one by one.
        UnsupportedFormatError: It is none of the input formats.
        ImageDecodeError: Empty, truncated or corrupt.
    """
    if params.format != "jpeg":
        raise UnencodableError(f"lossless=true gives jpeg, not {params.format}; leave format out")
    if not data:
        raise ImageDecodeError("the upload is empty")
    if (image_format := sniff(data)) != "jpeg":
        raise LosslessRefusedError(f"the picture is {image_format}; lossless=true takes jpeg")
    read_frame(read_jpeg_header(data))


def mask_lossless(data: bytes, width: int, height: int, boxes: Float32Array, params: MaskParams) -> Masked:
    """Hide every face of a JPEG, and every region asked for; all other blocks keep their coefficients.

    The result is baseline, has the input's quantisation tables and sampling, and of its metadata the ICC
    profile and the orientation.

    Args:
        data: The whole file.
        width: Of the upright picture in which the faces were found.
        height: The same.
        boxes: (N, 4) faces in upright pixels.
        params: How, and which regions as well; format and quality are the file's own.

    Raises:
        LosslessRefusedError: See `check_lossless`; or the file has faults.
        LosslessUnavailableError: The library for it is not installed.
        MaskingError: A box is not finite, a region was left out, or the result is not what was meant.
    """
    started = time.perf_counter()
    header = read_jpeg_header(data)
    frame, orientation = read_frame(header), read_orientation(header.exif)
    stored = (height, width) if swaps_sides(orientation) else (width, height)
    if stored != (frame.width, frame.height):
        raise MaskingError("the faces are those of another picture")
    areas = areas_of(boxes, params, width, height)
    masks = _Masks(frame, orientation, areas, params)
    copy = rewrite(data, frame, masks.hide)
    if masks.count != len(boxes) + params.region_count:
        raise MaskingError("a face was left out")
    _check(copy, frame, masks.written)
    result = with_segments(_without_density(copy), _profile(header, frame), orientation)
    masked_ms = masks.spent_s * 1e3
    rest_ms = (time.perf_counter() - started) * 1e3 - masked_ms
    return Masked(result, masks.count, masked_ms, rest_ms, areas.raised)


class _Masks:
    """The regions of one picture, on their way into its coefficients."""

    def __init__(self, frame: Frame, orientation: int, areas: Areas, params: MaskParams) -> None:
        self.count = 0
        self.written: list[Written] = []
        self.spent_s = 0.0
        self._frame = frame
        self._orientation = orientation
        self._areas = areas
        self._params = params
        size = (frame.height, frame.width) if swaps_sides(orientation) else (frame.width, frame.height)
        self._stored = stored_regions(areas.regions, orientation, *size)

    def hide(self, planes: Planes, space: str) -> None:
        """Write every region into the coefficients."""
        started = time.perf_counter()
        windows = windows_of(self._stored, self._frame)
        masked = [(window, [self._mask(member) for member in window.members]) for window in windows]
        if masked:
            self.written = hide_in(planes, self._frame, space, masked, self._hidden)
        self.spent_s = time.perf_counter() - started

    def _mask(self, member: int) -> Mask:
        x1, y1, x2, y2 = self._stored[member].tolist()
        is_whole = reaches_corners(int(self._areas.strengths[member]), self._params)
        return Mask(x1, y1, x2, y2, True if is_whole else ellipse(y2 - y1, x2 - x1))

    def _hidden(self, window: Window, pixels: UInt8Array) -> UInt8Array:
        """The stored pixels (h, w, 3) of a window with its regions hidden, as upright pixels are."""
        members = list(window.members)
        height, width = pixels.shape[:2]
        left, top = window.left * self._frame.mcu_width, window.top * self._frame.mcu_height
        part = np.array([[left, top, left + width, top + height]], np.int32)
        corner = upright_regions(part, self._orientation, self._frame.width, self._frame.height)[0, :2]
        turned = upright(pixels, self._orientation)
        regions = self._areas.regions[members] - np.tile(corner, 2)
        self.count += hide_areas(turned, regions, self._areas.strengths[members], self._params)
        return turned_back(turned, self._orientation)


def _profile(header: JpegHeader, frame: Frame) -> bytes | None:
    """The picture's ICC profile when it is sound and of its kind of pixels."""
    profile = sound_profile(header.icc_profile) if header.icc_profile else None
    kind = b"GRAY" if len(frame.components) == 1 else b"RGB "
    return profile if profile is not None and colour_space(profile) == kind else None


def _without_density(jpeg: bytes) -> bytes:
    """JFIF says how many pixels an inch has, which libjpeg-turbo copies: ours says nothing."""
    return jpeg[:2] + JFIF + jpeg[2 + len(JFIF) :] if jpeg[2:4] == JFIF[:2] else jpeg


def _check(copy: bytes, frame: Frame, written: list[Written]) -> None:
    """Read again what libjpeg-turbo wrote: the input's frame, and over the faces what was meant.

    Raises:
        MaskingError: It is something else.
    """
    header = read_jpeg_header(copy)
    if read_frame(header) != frame:
        raise MaskingError("the rewritten jpeg is another picture")
    runs = Runs(copy, header, frame)
    if not written:
        return
    where = [_runs_of(w, frame) for w in written]
    wanted = np.unique(np.concatenate(where))

    def see(planes: Planes, _: str) -> None:
        for w, run in zip(written, where, strict=True):
            rows, columns = _moved(w, np.searchsorted(wanted, run), frame)
            if not np.array_equal(planes[w.component][rows, columns], w.coefficients):
                raise MaskingError("a face is not hidden in the rewritten jpeg")

    look(*runs.alone(wanted), see)


def _runs_of(written: Written, frame: Frame) -> Int64Array:
    """In which run each block (N,) lies."""
    component = frame.components[written.component]
    places = written.rows // component.down * frame.columns + written.columns // component.across
    runs: Int64Array = places // run_length(frame)
    return runs


def _moved(written: Written, runs: Int64Array, frame: Frame) -> tuple[Int64Array, Int64Array]:
    """Row and column of each block (N,) where its run is the one of that number (N,)."""
    component, in_row = frame.components[written.component], frame.columns // run_length(frame)
    wide = run_length(frame) * component.across
    rows = runs // in_row * component.down + written.rows % component.down
    return rows, runs % in_row * wide + written.columns % wide
