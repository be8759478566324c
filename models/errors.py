"""What can go wrong, said in the words of the person who can mend it.

Errors travel between processes: they take one positional message and survive pickling. Only
`serve_app.errors` knows which HTTP status each becomes.
"""


class FaceError(Exception):
    """Base of every error this project raises on purpose. `str(error)` is safe to show to the caller."""


class ModelError(FaceError):
    """Weights are missing, wrong, or cannot be prepared. For the operator, never for a client."""


class ModelUnavailableError(ModelError):
    """The weights are in no local folder and could not be fetched; says where to put the file."""


class ReleaseUnreachableError(ModelUnavailableError):
    """Nobody answers where models are downloaded from: asking for another one is of no use."""


class ModelDigestError(ModelError):
    """A file is there, but it is not the file the manifest names."""


class ModelGraphError(ModelError):
    """The graph is not an SCRFD export this project knows how to make batch-safe."""


class ProviderError(ModelError):
    """The execution provider that was asked for is not the one that would run."""


class PrecisionError(ModelError):
    """The precision that was asked for cannot be computed here, or not with these weights."""


class RangesError(ModelError):
    """A file of activation ranges is none, or no ranges could be measured."""


class SelfCheckError(ModelError):
    """A mixed batch does not equal the same pictures one by one: serving it would mix up faces."""


class InferenceError(FaceError):
    """The session failed, or returned something that is not a finite set of faces."""
