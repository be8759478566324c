"""Our log lines go to standard error as they are: JSON, one line each."""

import logging


def configure() -> None:
    """Send the loggers of this project to standard error, once."""
    logger = logging.getLogger("face_api")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
