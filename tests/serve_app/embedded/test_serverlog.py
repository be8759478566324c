import stat
from pathlib import Path

from serve_app.embedded.serverlog import MAX_BYTES, ServerLog


def test_last_words_are_the_last_failure_of_this_start(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    log.path.write_text("2026-11-24 22:00:00 UTC [1] FATAL:  an older one\n")
    log.mark()
    with log.open() as file:
        file.write(
            b"2026-11-24 22:05:00 UTC [2] LOG:  starting\n"
            b"2026-11-24 22:05:00 UTC [2] FATAL:  the disk is full.\n"
            b"2026-11-24 22:05:00 UTC [2] LOG:  database system is shut down\n"
        )
    assert log.last_words() == "the disk is full"


def test_without_a_failure_the_last_line_is_quoted(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    assert log.last_words() == "it said nothing"
    log.path.write_text("first\nlast\n\n")
    assert log.last_words() == "last"


def test_a_log_that_grew_too_large_starts_over_while_it_is_written(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    with log.open() as file:
        file.write(b"x" * (MAX_BYTES + 1))
        file.flush()
        log.keep_small()
        file.write(b"FATAL:  later\n")
        file.flush()
        assert log.last_words() == "later"
        log.keep_small()
    assert log.path.stat().st_size == len(b"FATAL:  later\n")


def test_only_the_owner_reads_the_log(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "log")
    log.open().close()
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
