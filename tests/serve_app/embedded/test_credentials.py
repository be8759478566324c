import json
import stat
from pathlib import Path

import pytest

from serve_app.embedded.credentials import Credentials, read_credentials, write_credentials
from serve_app.embedded.errors import EmbeddedError

CREDENTIALS = Credentials("http://127.0.0.1:8000", "admin", 'pä"ss', "fk_123")


def test_credentials_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "var" / "credentials.json"
    write_credentials(path, CREDENTIALS)
    assert read_credentials(path) == CREDENTIALS
    assert list(json.loads(path.read_text())) == ["url", "admin_user", "admin_password", "api_key"]
    assert [entry.name for entry in path.parent.iterdir()] == ["credentials.json"]


def test_only_the_owner_reads_the_file_even_where_others_could_before(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_credentials(path, CREDENTIALS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_is_no_credentials(tmp_path: Path) -> None:
    assert read_credentials(tmp_path / "credentials.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": 1, "admin_user": "a"}', "\0"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(EmbeddedError, match=r"credentials\.json .*remove it"):
        read_credentials(path)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(EmbeddedError, match=r"credentials\.json cannot be read \(Is a directory\)"):
        read_credentials(path)
    with pytest.raises(EmbeddedError, match=r"credentials\.json cannot be written"):
        write_credentials(path, CREDENTIALS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]
