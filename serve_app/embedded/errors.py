"""What can keep an embedded server from running, said to the person at the terminal."""

from models.errors import FaceError


class EmbeddedError(FaceError):
    """An embedded server or one of its files cannot be used. For the operator, not for clients."""


class FolderInUseError(EmbeddedError):
    """Another process runs, or is about to run, the server of this folder."""
