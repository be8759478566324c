"""One JSON object a line, from every process of the service, on the standard error of whoever started it.

Ray Serve replaces `sys.stderr` of its replicas, and Ray would put a prefix in front of each line. So
`face-api serve` makes a pipe and copies what comes through it; without it, as under `serve run`, lines go to
the process's real standard error.
"""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

PIPE: Final = "FACE_API_LOG_PIPE"
"""Environment variable that names the pipe."""

MOST_BYTES: Final = 4096
"""Of a line: writes up to PIPE_BUF are never mixed with those of other processes (POSIX)."""


SECRETS: Final = (
    (re.compile(r"xyl_[0-9a-fA-F]{8,}"), "xyl_..."),  # API keys, should a client put one into a path
    (re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"\\]+"), r"\1..."),
    (re.compile(r"(://[^/@:\s\"]*:)[^@\s\"]+@"), r"\1...@"),  # passwords in URLs
)
"""What must never reach a log. Nothing of ours logs it; exceptions of others might."""


def without_secrets(text: str) -> str:
    """A text with every secret of a known form cut out."""
    for form, instead in SECRETS:
        text = form.sub(instead, text)
    return text


class JsonLines(logging.Formatter):
    """Time and level in front of a message that is a JSON object, or around one that is not."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback is a field, cut where the line would grow too long."""
        message = record.getMessage()
        if not message.startswith("{"):
            message = json.dumps({"event": message})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f'{{"time": "{time}", "level": "{record.levelname.lower()}", {message[1:]}'
        if record.exc_info:
            room = (MOST_BYTES - len(line.encode())) // 2  # escapes make it longer
            traceback = self.formatException(record.exc_info)[-max(room, 0) :]
            line = f'{line[:-1]}, "traceback": {json.dumps(traceback)}}}'
        return without_secrets(line)


class PipeHandler(logging.Handler):
    """Writes lines to the pipe; while nobody reads, lines are lost rather than requests held up."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            os.write(self._pipe, self.format(record).encode()[: MOST_BYTES - 1] + b"\n")
        except OSError:
            return


def configure() -> None:
    """Send the loggers of this project, and of tracing, where the operator looks; once in each process."""
    logger, tracing = logging.getLogger("face_api"), logging.getLogger("opentelemetry")
    if logger.handlers:
        return
    pipe = os.environ.get(PIPE)
    handler = PipeHandler(Path(pipe)) if pipe else logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    tracing.addHandler(handler)
    tracing.setLevel(logging.WARNING)
    tracing.propagate = False
