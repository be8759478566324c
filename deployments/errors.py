"""What a picture or a crowded service can make the stages say."""

from models.errors import FaceError


class UnsupportedFormatError(FaceError):
    """The bytes are none of the input formats."""


class ImageTooLargeError(FaceError):
    """The header promises more pixels than the service accepts."""


class ImageDecodeError(FaceError):
    """The bytes are empty, truncated or corrupt."""


class UnencodableError(FaceError):
    """The picture cannot be written in the format that was asked for, such as WebP over 16383 pixels."""


class UncertainFacesError(FaceError):
    """There are faces under the confidence, and the request wants no picture then."""


class ResidualFacesError(FaceError):
    """Faces are still found in the masked picture, however hard they are hidden."""


class ChoiceError(FaceError):
    """What was to be hidden or left is no part of this picture, or contradicts itself."""


class LosslessRefusedError(FaceError):
    """The picture is no JPEG whose blocks can be changed one by one."""


class LosslessUnavailableError(FaceError):
    """The library that changes the blocks of a JPEG is not installed."""


class MaskingError(FaceError):
    """Masking did not finish. There is no answer but an error."""


class OverloadedError(FaceError):
    """A queue bound was reached; trying again a little later will help."""


class StageLostError(OverloadedError):
    """The replica that worked on the picture ended, or none is there; another one is started."""


class DeadlineExceededError(FaceError):
    """The request's deadline passed before its result was ready."""


class VideoError(FaceError):
    """A film cannot be masked, or not to its end; says why, and what is left of it."""
