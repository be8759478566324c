from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.redact.options import OF_ONE_REQUEST, with_mask_options
from serve_app.schemas.mask import MaskQuery

RUNNER = CliRunner()


def test_the_options_are_the_parameters_of_mask_with_their_defaults_and_bounds() -> None:
    seen: list[MaskQuery] = []

    @with_mask_options
    def command(source: str, *, query: MaskQuery) -> None:
        """Try it."""
        seen.append(query)

    tool = typer.Typer()
    tool.command()(command)
    assert RUNNER.invoke(tool, ["x"]).exit_code == 0
    assert seen.pop() == MaskQuery()
    text = RUNNER.invoke(tool, ["--help"], env={"COLUMNS": "200"}).stdout
    for name in set(MaskQuery.model_fields) - OF_ONE_REQUEST:
        assert f"--{name.replace('_', '-')}" in text
    given = ["x", "--method", "pixelate", "--strength", "40", "--confidence", "0.3", "--format", "png"]
    assert RUNNER.invoke(tool, given).exit_code == 0
    assert seen.pop() == MaskQuery(method="pixelate", strength=40, confidence=0.3, format="png")
    wrong = RUNNER.invoke(tool, ["x", "--strength", "1000"])
    assert wrong.exit_code == 2
    assert "strength" in wrong.stderr
    assert RUNNER.invoke(tool, ["x", "--method", "sepia"]).exit_code == 2


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
