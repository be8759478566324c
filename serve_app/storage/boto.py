"""The S3 client. Importing this takes 0.3 s, which commands without storage should not pay."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import urlsplit

import aioboto3
import aiohttp
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from serve_app.storage import upload
from serve_app.storage.options import StorageOptions

MAX_CONNECTIONS: Final = 16
CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 30.0
"""Answers do not wait so long; but an upload given up early could land after its object was removed."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    aiohttp.ClientError,
    exceptions.ClientError,  # it answered, but not what was asked for: 5xx, wrong keys, no such bucket
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    ResponseParserError,  # something else answered
    exceptions.NoCredentialsError,
    exceptions.CredentialRetrievalError,
)


def make_session(options: StorageOptions) -> aioboto3.Session:
    """Who asks: the keys of the options, or what AWS's usual places hold."""
    return aioboto3.Session(
        aws_access_key_id=options.access_key,
        aws_secret_access_key=options.secret_key,
        region_name=options.region,
    )


def make_client(session: aioboto3.Session, endpoint: str | None) -> AbstractAsyncContextManager[Any]:
    """A client for an endpoint of the server; it connects when it is used."""
    is_local = _is_local(endpoint)
    config = Config(
        signature_version="s3v4",
        # "auto" would sign links for AWS's global host, which sends them to another one: that breaks them.
        s3={
            "addressing_style": "path" if endpoint else "virtual",
            # TLS, or this machine's own memory, protects bodies; hashing each twice would cost milliseconds.
            "payload_signing_enabled": not (is_local or (endpoint or "https:").startswith("https:")),
        },
        max_pool_connections=MAX_CONNECTIONS,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": upload.MAX_ATTEMPTS},
        # Otherwise each upload carries its checksum in a trailer, which not every S3 server understands.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # HTTP_PROXY is for the world outside.
        proxies={} if is_local else None,
    )
    client: AbstractAsyncContextManager[Any] = session.client("s3", endpoint_url=endpoint, config=config)
    return client


def make_http_session(endpoint: str | None) -> aiohttp.ClientSession:
    """What uploads are sent through, within the bounds of the client."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
        trust_env=not _is_local(endpoint),
    )


async def make_uploader(
    session: aioboto3.Session,
    client: Any,  # noqa: ANN401 - botocore has no types
    http: aiohttp.ClientSession,
    options: StorageOptions,
) -> upload.Uploader:
    """For the bucket, wherever the client would look for it.

    Raises:
        NoCredentialsError: AWS's usual places hold no keys.
    """
    credentials = await session.get_credentials()
    if credentials is None:
        raise exceptions.NoCredentialsError
    link: str = await client.generate_presigned_url(
        "put_object", Params={"Bucket": options.bucket, "Key": "x"}
    )
    base_url = link.partition("?")[0].removesuffix("x")
    return upload.Uploader(base_url, options.region, credentials, http, client.meta.config)


def _is_local(endpoint: str | None) -> bool:
    return urlsplit(endpoint or "").hostname in LOOPBACK
