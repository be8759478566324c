"""`face-api`: run the service, manage keys and model weights, or work on files without a server."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from models.errors import FaceError
from serve_app import rollout
from serve_app.advise.command import advise
from serve_app.keys_cli import keys_app, migrate_database
from serve_app.launcher import DEFAULT_CONFIG
from serve_app.maintenance_cli import maintenance_app
from serve_app.models_cli import models_app
from serve_app.oneshot import detect_files, mask_files
from serve_app.receipts.command import receipt_app
from serve_app.redact.command import redact_collection
from serve_app.rollout import StartError
from serve_app.settings import SettingsError, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(maintenance_app, name="maintenance")
app.add_typer(receipt_app, name="receipt")
app.command("advise")(advise)
app.command("migrate")(migrate_database)
app.command("detect")(detect_files)
app.command("mask")(mask_files)
app.command("redact")(redact_collection)


@app.command()
def serve(
    config: Annotated[
        Path, typer.Option(help="Ray Serve config: replicas, GPUs, batch sizes.", dir_okay=False, exists=True)
    ] = DEFAULT_CONFIG,
) -> None:
    """Run the service on this machine until Ctrl-C. PORT and FACE_API_* variables configure it."""
    from serve_app import launcher  # noqa: PLC0415 - patched in tests

    launcher.serve(load_settings(), config, Console(stderr=True))


@app.command()
def deploy(
    config: Annotated[Path, typer.Argument(help="The new Ray Serve config.", dir_okay=False, exists=True)],
    restart: Annotated[
        bool, typer.Option("--restart", help="Start every replica anew, for new code or weights.")
    ] = False,
) -> None:
    """Change what `face-api serve` runs here: replicas, batches, code. No request is lost."""
    rollout.deploy(load_settings(), config, Console(stderr=True), restart=restart)


def main() -> None:
    """Entry point: a sentence and exit code 1 for what the person at the terminal can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except (FaceError, SettingsError, StartError) as error:
        text = escape(str(error))
        Console(stderr=True).print(f"[bold red]error[/] {text}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
