"""What every refusal for a while has in common: when to come back."""

from models.errors import FaceError


class RetryLaterError(FaceError):
    """Refused now; `retry_after_s` seconds later it may go well."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])
