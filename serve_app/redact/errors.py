"""What ends a redaction, said to the person at the terminal."""

from models.errors import FaceError


class PlaceError(FaceError):
    """SOURCE or TARGET cannot be used; says why and what could."""


class RedactionError(FaceError):
    """It cannot go on; what was done is kept, and the same command goes on from there."""


class UnreadableError(FaceError):
    """One file cannot be read: it is gone, encrypted, damaged or too large."""
