"""`face-api maintenance`: one pass of what the service does by itself, and a search for orphans."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serve_app.keys_cli import database_url
from serve_app.migrate import migrate
from serve_app.services.maintenance import Maintenance
from serve_app.settings import Settings, SettingsError, load_settings
from serve_app.storage_tier import open_maintenance

T = TypeVar("T")
TABLE_WIDTH = 140
maintenance_app = typer.Typer(no_args_is_help=True, help="Remove garbage in the object store, find orphans.")


@maintenance_app.command()
def run() -> None:
    """One pass: objects whose rows are gone are removed, images past their retention forgotten."""
    done = _with_maintenance(lambda maintenance: maintenance.run_once(at_once=True))
    tried = f"{done.removed} objects removed, {done.failed} will be tried again"
    typer.echo(f"{tried}; {done.forgotten} images past their retention")
    if done.failed:
        raise typer.Exit(1)


@maintenance_app.command()
def audit(fix: Annotated[bool, typer.Option(help="Remove them.")] = False) -> None:
    """Objects older than a day that no row knows. Exit code 1 when there are some and they stay."""
    orphans = _with_maintenance(lambda maintenance: maintenance.audit(fix=fix))
    table = Table("key", "bytes", "since", box=None)
    for orphan in orphans:
        table.add_row(escape(orphan.key), str(orphan.size_bytes), f"{orphan.modified_at:%Y-%m-%d %H:%M}")
    if orphans:
        Console(width=max(Console().width, TABLE_WIDTH)).print(table)
    typer.echo(f"{len(orphans)} orphans{' removed' if fix and orphans else ''}")
    if orphans and not fix:
        raise typer.Exit(1)


@contextmanager
def stored_settings() -> Iterator[Settings]:
    """Settings with both tiers: the configured ones, else the embedded ones."""
    settings = load_settings()
    with ExitStack() as stack:
        given: dict[str, object] = {}
        if settings.database_url is None:
            given["database_url"] = stack.enter_context(database_url(settings))
            if settings.s3_endpoint is None:
                from serve_app.embedded.s3 import EmbeddedS3  # noqa: PLC0415 - an extra

                options = stack.enter_context(EmbeddedS3(settings.objects_dir).running())
                names = ("endpoint", "region", "bucket", "access_key", "secret_key")
                given |= {f"s3_{name}": getattr(options, name) for name in names}
        elif not settings.storage_enabled:
            raise SettingsError("FACE_API_STORAGE_ENABLED is not true: there is nothing to maintain")
        yield load_settings(**given)


def _with_maintenance(work: Callable[[Maintenance], Awaitable[T]]) -> T:
    async def run_it(settings: Settings) -> T:
        await migrate(settings.database or "")
        async with open_maintenance(settings) as maintenance:
            return await work(maintenance)

    with stored_settings() as settings:
        return asyncio.run(run_it(settings))
