"""What the first start with the embedded PostgreSQL makes: a password, a key, and a file with both."""

import secrets
from dataclasses import replace

from serve_app.database import Database
from serve_app.embedded.credentials import Credentials, read_credentials, write_credentials
from serve_app.migrate import migrate
from serve_app.repositories.api_keys import ApiKeyRepository
from serve_app.services.api_keys import create_key, new_key
from serve_app.settings import Settings

PASSWORD_BYTES = 18


async def first_start(url: str, settings: Settings, address: str) -> Credentials:
    """Bring the tables up to date; make what is missing, reuse what is there.

    The key of the file is made again in a database without tables only: one that was deleted stays deleted.

    Args:
        url: Of the embedded database.
        settings: Of the service.
        address: Where clients reach it.
    """
    migration = await migrate(url)
    path = settings.credentials_file
    kept = read_credentials(path)
    given = settings.admin_password.get_secret_value() if settings.admin_password else ""
    credentials = kept or Credentials(
        address, settings.admin_user, given or secrets.token_urlsafe(PASSWORD_BYTES), new_key()
    )
    if kept is None or migration.before is None:
        database = Database(url, pool_size=1)
        await database.open()
        try:
            await create_key(ApiKeyRepository(database), "first key", credentials.api_key)
        finally:
            await database.close()
    current = replace(credentials, url=address, admin_user=settings.admin_user)
    if current != kept:
        write_credentials(path, current)
    return current
