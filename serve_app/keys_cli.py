"""`face-api keys` and `face-api migrate`: the database from a terminal on this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serve_app.database import Database, DatabaseUnavailableError
from serve_app.json_body import problems
from serve_app.migrate import migrate
from serve_app.repositories.api_keys import ApiKeyRepository
from serve_app.schemas.admin import Name
from serve_app.services.api_keys import create_key
from serve_app.settings import OFF, Settings, SettingsError, load_settings

T = TypeVar("T")
ROWS_AT_ONCE = 100
TABLE_WIDTH = 140  # characters; ids must not be cut where a terminal is narrow
keys_app = typer.Typer(no_args_is_help=True, help="API keys: make, list and revoke them.")


@keys_app.command()
def create(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """Make a key. It is printed once, alone on standard output, and never again."""
    try:
        checked = TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise typer.BadParameter(problems(error).removeprefix("body: ")) from error
    row, key = _ask(lambda keys: create_key(keys, checked))
    typer.echo(f"{row.name} ({row.id}); this is the only time the key is shown:", err=True)
    typer.echo(key)


@keys_app.command("list")
def list_keys() -> None:
    """Every key, newest first, with its use."""
    table = Table("id", "name", "key", "active", "requests", "last used", box=None)

    async def add_rows(keys: ApiKeyRepository) -> None:
        offset = 0
        while rows := await keys.page(offset, ROWS_AT_ONCE):
            offset += len(rows)
            for row in rows:
                used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
                shown = f"{row.key_prefix}...{row.key_suffix}"
                active = "yes" if row.is_active else "revoked"
                table.add_row(str(row.id), escape(row.name), shown, active, str(row.request_count), used)

    _ask(add_rows)
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


@keys_app.command()
def revoke(key_id: Annotated[UUID, typer.Argument(help="As `face-api keys list` shows it.")]) -> None:
    """Switch a key off. Replicas refuse it within 5 s."""
    row = _ask(lambda keys: keys.update(key_id, {"is_active": False}))
    if row is None:
        raise typer.BadParameter(f"there is no API key {key_id}; see face-api keys list")
    typer.echo(f"revoked {row.name} ({row.id})")


def migrate_database() -> None:
    """Bring the tables of the database to the state this version needs."""
    with database_url(load_settings()) as url:
        done = _run(migrate(url))
        typer.echo(f"revision {done.after}" + ("" if done.before == done.after else f", was {done.before}"))


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The configured database, or the embedded one: the running one, else started for this command."""
    if settings.database is not None:
        yield settings.database
        return
    if settings.database_url is not None:
        raise SettingsError(f"FACE_API_DATABASE_URL={OFF}: there is no database to work on")
    from serve_app.embedded.postgres import EmbeddedPostgres  # noqa: PLC0415 - an extra

    with EmbeddedPostgres(settings.postgres_dir).running() as url:
        yield url


def _ask(question: Callable[[ApiKeyRepository], Awaitable[T]]) -> T:
    async def ask(url: str) -> T:
        await migrate(url)
        database = Database(url, pool_size=1)
        await database.open()
        try:
            return await question(ApiKeyRepository(database))
        finally:
            await database.close()

    with database_url(load_settings()) as url:
        return _run(ask(url))


def _run(work: Awaitable[T]) -> T:
    async def run() -> T:
        return await work

    try:
        return asyncio.run(run())
    except DatabaseUnavailableError as error:
        reason = error.__cause__ or error
        raise DatabaseUnavailableError(
            f"the database cannot be reached ({type(reason).__name__}: {reason}); check FACE_API_DATABASE_URL"
        ) from error
