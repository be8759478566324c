import typer
from typer.testing import CliRunner

from serve_app.query_options import with_options_of
from serve_app.schemas.mask import MaskQuery


def test_the_options_are_the_parameters_of_mask_with_their_defaults_and_bounds() -> None:
    seen: list[MaskQuery] = []
    runner = CliRunner()

    @with_options_of(MaskQuery, but=frozenset({"store"}))
    def command(source: str, *, query: MaskQuery) -> None:
        """Try it."""
        seen.append(query)

    tool = typer.Typer()
    tool.command()(command)
    assert runner.invoke(tool, ["x"]).exit_code == 0
    assert seen.pop() == MaskQuery()
    text = runner.invoke(tool, ["--help"], env={"COLUMNS": "200"}).stdout
    for name in set(MaskQuery.model_fields) - {"store"}:
        assert f"--{name.replace('_', '-')}" in text
    assert "--store" not in text
    given = ["x", "--method", "pixelate", "--strength", "40", "--confidence", "0.3", "--format", "png"]
    assert runner.invoke(tool, given).exit_code == 0
    assert seen.pop() == MaskQuery(method="pixelate", strength=40, confidence=0.3, format="png")
    alone = runner.invoke(tool, ["x", "--mask-confidence", "0.2"])  # its default, but said
    assert alone.exit_code == 2
    assert "uncertain" in alone.stderr
    wrong = runner.invoke(tool, ["x", "--strength", "1000"])
    assert wrong.exit_code == 2
    assert "strength" in wrong.stderr
    assert runner.invoke(tool, ["x", "--method", "sepia"]).exit_code == 2
