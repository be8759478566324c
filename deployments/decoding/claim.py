"""How many pixels an upload says it has, without any codec: for whoever bounds memory before decoding."""

from deployments.decoding.header import check_size, read_size
from deployments.decoding.heif_header import read_heif_header
from deployments.decoding.jpeg_header import read_jpeg_header
from deployments.decoding.sniff import sniff
from deployments.errors import ImageDecodeError


def claimed_pixels(data: bytes, max_pixels: int) -> int:
    """Width × height by the header; `max_pixels` where only a decoder can tell (TIFF, BMP, GIF).

    Of a HEIF the largest picture in it, since any may be decoded.

    Only this module's own Python reads the bytes, so no picture can crash the caller.

    Args:
        data: The whole upload.
        max_pixels: Width × height that is accepted.

    Raises:
        UnsupportedFormatError: The bytes are none of the input formats.
        ImageTooLargeError: The header promises more than `max_pixels`.
        ImageDecodeError: Empty, or the header is cut off or not to be trusted.
    """
    if not data:
        raise ImageDecodeError("the upload is empty")
    image_format = sniff(data)
    if image_format == "heif":
        return min(read_heif_header(data, max_pixels).pixels or max_pixels, max_pixels)
    if image_format == "jpeg":
        header = read_jpeg_header(data)
        size: tuple[int, int] | None = (header.width, header.height)
    else:
        size = read_size(data, image_format)
    if size is None:
        return max_pixels
    check_size(*size, max_pixels)
    if image_format == "gif":  # its frames may be larger than its screen
        return max_pixels
    return size[0] * size[1]
