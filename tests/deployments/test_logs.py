import json
import logging
import os
from pathlib import Path

from deployments.logs import MOST_BYTES, JsonLines, PipeHandler


def record(message: str, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("face_api", logging.WARNING, "f", 1, message, None, exc_info)  # type: ignore[arg-type]


def test_messages_become_json_objects_with_time_and_level() -> None:
    for message in ('{"event": "request", "status": 200}', "plain words"):
        line = json.loads(JsonLines().format(record(message)))
        assert line["level"] == "warning"
        assert line["time"].endswith("+00:00")
        assert line["event"] in {"request", "plain words"}


def test_a_traceback_is_a_field_of_a_line_that_stays_whole() -> None:
    try:
        raise ValueError('x"\n' * 5000)
    except ValueError as error:
        text = JsonLines().format(record("failed", (ValueError, error, error.__traceback__)))
    assert len(text.encode()) < MOST_BYTES
    assert '"\n' in json.loads(text)["traceback"]


def test_a_pipe_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)
    handler = PipeHandler(path)
    handler.setFormatter(JsonLines())
    for _ in range(2000):
        handler.emit(record("x" * 500))
    first = os.read(reader, 2**20).splitlines()
    os.close(reader)
    assert len(first) > 50
    assert all(json.loads(line)["event"] == "x" * 500 for line in first)


def test_secrets_are_cut_out_of_whatever_is_logged() -> None:
    key = "xyl_" + "0123456789abcdef" * 3
    link = f"http://s3/b/originals/a.jpg?X-Amz-Credential=AKIA%2F1&X-Amz-Signature={'f' * 64}&x=1"
    message = json.dumps({"event": "request", "path": f"/{key}", "link": link})
    line = JsonLines().format(record(message))
    assert json.loads(line)["path"] == "/xyl_..."
    assert json.loads(line)["link"].endswith("X-Amz-Credential=...&X-Amz-Signature=...&x=1")
    try:
        raise OSError(f"postgresql://face_api:pass:word@db/x refused {key}")
    except OSError as error:
        text = JsonLines().format(record("failed", (OSError, error, error.__traceback__)))
    assert "postgresql://face_api:...@db/x" in json.loads(text)["traceback"]
    assert "pass:word" not in text
    assert key not in text + line
