import os
import stat
from pathlib import Path

from serve_app.embedded.account import Account, account_of, open_tree, open_way

SOMEBODY = Account(54321, 54321)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_way_is_opened_for_passing_only(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    data.mkdir(mode=0o700)
    assert not SOMEBODY.may_pass(closed)
    open_way(SOMEBODY, data)
    assert SOMEBODY.may_pass(closed)
    assert mode(closed) == 0o701
    assert mode(data) == 0o700


def test_an_owner_needs_no_opening(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert Account(os.getuid(), os.getgid()).may_pass(tmp_path)


def test_a_tree_is_opened_for_reading_never_for_writing(tmp_path: Path) -> None:
    program, data = tmp_path / "program", tmp_path / "data"
    for path, bits in ((program, 0o700), (data, 0o600)):
        path.touch()
        path.chmod(bits)
    open_tree(tmp_path)
    assert (mode(program), mode(data)) == (0o705, 0o604)


def test_postgresql_never_runs_as_root(tmp_path: Path) -> None:
    assert account_of(tmp_path / "missing").uid != 0
