"""`face-api receipt`: check a receipt, make or show the key that signs them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization

from serve_app.receipts.key import described, make_key_file, read_private_key, read_public_key
from serve_app.receipts.receipt import ReceiptError, check_file, read_receipt
from serve_app.settings import SettingsError, load_settings

receipt_app = typer.Typer(no_args_is_help=True, help="Signed receipts of masked pictures.")


@receipt_app.command()
def verify(
    receipt: Annotated[
        Path,
        typer.Argument(help="The receipt, or the whole JSON answer with it.", exists=True, dir_okay=False),
    ],
    original: Annotated[Path | None, typer.Option(help="What was sent.", exists=True, dir_okay=False)] = None,
    masked: Annotated[Path | None, typer.Option(help="What came back.", exists=True, dir_okay=False)] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Public key, as JSON or PEM. Default: this service's.", exists=True, dir_okay=False
        ),
    ] = None,
) -> None:
    """Check the signature, and the files that are named; prints what the receipt says. Exit code 1: wrong."""
    path = key or load_settings().receipt_key_file
    found = read_receipt(_receipt_in(receipt), read_public_key(path))
    for name, file, stated in (("original", original, found.input), ("masked", masked, found.output)):
        if file is not None:
            check_file(f"--{name} {file}", file.read_bytes(), stated)
    typer.echo(found.model_dump_json(indent=2))
    checked = [name for name, file in (("original", original), ("masked", masked)) if file is not None]
    files = (
        f"; checked: {' and '.join(checked)}" if checked else "; no file was compared (--original, --masked)"
    )
    typer.echo(f"the signature is right{files}", err=True)


@receipt_app.command("new-key")
def new_key(path: Annotated[Path, typer.Argument(help="Where to write it.")]) -> None:
    """Make a key for FACE_API_RECEIPT_KEY: one for all machines of a service. Never replaces a file."""
    if path.exists():
        raise SettingsError(f"{path} is there already; a key that signed receipts must be kept")
    make_key_file(path)
    typer.echo(described(read_private_key(path).public_key()).model_dump_json(indent=2))


@receipt_app.command("key")
def show_key(
    pem: Annotated[bool, typer.Option("--pem", help="As PEM, for other tools; else JSON (a JWK).")] = False,
) -> None:
    """Print the public key of this service, for whoever checks its receipts."""
    key = read_private_key(load_settings().receipt_key_file).public_key()
    if pem:
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        typer.echo(key.public_bytes(*form).decode(), nl=False)
    else:
        typer.echo(described(key).model_dump_json(indent=2))


def _receipt_in(path: Path) -> str:
    """The JWS in a file; a JSON answer names it `receipt`."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not text.startswith("{"):
        return text
    try:
        return str(json.loads(text)["receipt"])
    except (ValueError, KeyError) as error:
        raise ReceiptError(f"{path} holds no receipt: it is JSON without a field `receipt`") from error
