from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli import app

RUNNER = CliRunner()


@pytest.mark.parametrize("target", ["in/out", "in", ".", "gs://bucket"])
def test_a_wrong_target_is_a_usage_error_before_anything_starts(tmp_path: Path, target: str) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    (tmp_path / "in").mkdir()
    given = target if "://" in target else str(tmp_path / target)
    result = RUNNER.invoke(app, ["redact", str(tmp_path / "in"), given], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "TARGET" in result.stderr or "s3://bucket" in result.stderr
    assert list((tmp_path / "in").iterdir()) == []
