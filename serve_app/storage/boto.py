"""The S3 client. Importing this takes 0.3 s, which commands without storage should not pay."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import urlsplit

import aioboto3
import aiohttp
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from serve_app.storage.options import StorageOptions

MAX_CONNECTIONS: Final = 16
CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 30.0
"""Answers do not wait so long; but an upload given up early could land after its object was removed."""
MAX_ATTEMPTS: Final = 3
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


def make_client(options: StorageOptions, endpoint: str | None) -> AbstractAsyncContextManager[Any]:
    """A client for an endpoint of the server; it connects when it is used."""
    is_local = urlsplit(endpoint or "").hostname in LOOPBACK
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
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        # Otherwise each upload carries its checksum in a trailer, which not every S3 server understands.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # HTTP_PROXY is for the world outside.
        proxies={} if is_local else None,
    )
    client: AbstractAsyncContextManager[Any] = aioboto3.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=options.region,
        aws_access_key_id=options.access_key,
        aws_secret_access_key=options.secret_key,
        config=config,
    )
    return client
