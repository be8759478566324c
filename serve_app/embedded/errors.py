"""What can keep the embedded PostgreSQL from running, said to the person at the terminal."""

from models.errors import FaceError


class EmbeddedError(FaceError):
    """The embedded PostgreSQL or its credentials file cannot be used. For the operator, not for clients."""


class FolderInUseError(EmbeddedError):
    """Another process runs, or is about to run, the PostgreSQL of this folder."""
