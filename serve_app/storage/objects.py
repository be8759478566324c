"""Objects in one bucket as one replica sees them, and one error for whatever makes S3 unreachable."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models.errors import FaceError
from serve_app.storage.names import content_disposition
from serve_app.storage.options import StorageOptions

PING_TIMEOUT_S: Final = 2.0
PING_FRESH_S: Final = 1.0
"""How long one ping is believed: /health is asked often."""
DELETE_BATCH: Final = 250
"""S3 takes 1000; rclone needs up to 2 ms for each, and READ_TIMEOUT_S is for all of them."""
HEAD_BYTES: Final = 4096
AWS_DEFAULT_REGION: Final = "us-east-1"
"""The one region that must not be named when a bucket is made."""
STORAGE_UNAVAILABLE: Final = "the storage cannot be reached; try again shortly"

Keys = list[str]

logger = logging.getLogger("face_api.storage")


class StorageUnavailableError(FaceError):
    """S3 cannot be reached or refuses; trying again a little later will help."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of the bucket. Made by ObjectStore.list; read by maintenance and `face-api redact`."""

    key: str
    size_bytes: int
    modified_at: datetime  # with a time zone
    etag: str  # another one when its bytes are others


class ObjectStore:
    """One client for its lifetime. Connections are opened when needed, so a start needs no S3."""

    def __init__(self, options: StorageOptions) -> None:
        self.options = options
        self.is_up: bool | None = None  # None until it was asked
        self._clients = AsyncExitStack()
        self._s3: Any = None
        self._public_s3: Any = None
        self._make_uploader: Any = None
        self._uploader: Any = None  # made for the first upload: it needs keys, which a start does not
        self._unreachable: tuple[type[Exception], ...] = ()
        self._pinged_s = -PING_FRESH_S

    async def open(self) -> None:
        """Make the client; does not connect yet."""
        from serve_app.storage import boto  # noqa: PLC0415 - takes 0.3 s

        self._unreachable = boto.UNREACHABLE
        session, enter = boto.make_session(self.options), self._clients.enter_async_context
        self._s3 = self._public_s3 = await enter(boto.make_client(session, self.options.endpoint))
        if self.options.public_endpoint is not None:  # a signature covers the host, so signing needs its own
            self._public_s3 = await enter(boto.make_client(session, self.options.public_endpoint))
        http = await enter(boto.make_http_session(self.options.endpoint))
        self._make_uploader = lambda: boto.make_uploader(session, self._s3, http, self.options)

    async def close(self) -> None:
        """Close every connection."""
        await self._clients.aclose()

    async def ensure_bucket(self) -> None:
        """Make the bucket unless it is there.

        Raises:
            StorageUnavailableError: S3 cannot be reached, or lets nobody look or make one.
        """
        bucket, region = self.options.bucket, self.options.region
        where = {} if region == AWS_DEFAULT_REGION else {"LocationConstraint": region}
        with self._asking():
            try:
                await self._s3.head_bucket(Bucket=bucket)
            except self._s3.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                configuration = {"CreateBucketConfiguration": where} if where else {}
                await self._s3.create_bucket(Bucket=bucket, **configuration)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object whole, or not at all.

        Raises:
            StorageUnavailableError: It may have been written or not.
        """
        with self._asking():
            if self._uploader is None:
                self._uploader = await self._make_uploader()
            await self._uploader.put(key, data, content_type)

    async def get(self, key: str) -> bytes | None:
        """An object whole; None when there is none of this key.

        Raises:
            StorageUnavailableError: S3 cannot be reached.
        """
        return await self.get_if(key, lambda _size, _head: None)

    async def get_if(self, key: str, admit: Callable[[int, bytes], None]) -> bytes | None:
        """As `get`, once `admit` has seen the object's size and first bytes; what it raises ends it there.

        Raises:
            StorageUnavailableError: S3 cannot be reached.
        """
        with self._asking():
            try:
                answer = await self._s3.get_object(Bucket=self.options.bucket, Key=key)
            except self._s3.exceptions.NoSuchKey:
                return None
            async with answer["Body"] as body:
                head = b""
                while len(head) < HEAD_BYTES and (chunk := await body.content.read(HEAD_BYTES - len(head))):
                    head += chunk
                admit(answer["ContentLength"], head)
                data: bytes = head + await body.content.read()
        return data

    async def delete(self, keys: Sequence[str]) -> Keys:
        """Delete objects; those that may still be there. One that was never there counts as deleted."""
        failed: Keys = []
        for start in range(0, len(keys), DELETE_BATCH):
            batch = [{"Key": key} for key in keys[start : start + DELETE_BATCH]]
            try:
                with self._asking():
                    answer = await self._s3.delete_objects(
                        Bucket=self.options.bucket, Delete={"Objects": batch, "Quiet": True}
                    )
            except StorageUnavailableError:
                return [*failed, *keys[start:]]
            errors = [error for error in answer.get("Errors", ()) if error["Code"] != "NoSuchKey"]
            if errors:
                codes = sorted({error["Code"] for error in errors})
                line = {"event": "objects could not be deleted", "count": len(errors), "codes": codes}
                logger.warning(json.dumps(line))
            failed += [error["Key"] for error in errors]
        return failed

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Every object whose key begins so; what comes and goes meanwhile may be missed.

        Raises:
            StorageUnavailableError: S3 cannot be reached.
        """
        paginator = self._s3.get_paginator("list_objects_v2")
        pages = aiter(paginator.paginate(Bucket=self.options.bucket, Prefix=prefix))
        while True:
            with self._asking():
                page = await anext(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", ()):
                yield StoredObject(
                    entry["Key"], entry["Size"], entry["LastModified"], entry["ETag"].strip('"')
                )

    async def is_ready(self) -> bool:
        """Whether the bucket answers; asked at most once in PING_FRESH_S."""
        if time.monotonic() - self._pinged_s >= PING_FRESH_S:
            self._pinged_s = time.monotonic()
            try:
                with self._asking():
                    async with asyncio.timeout(PING_TIMEOUT_S):
                        await self._s3.head_bucket(Bucket=self.options.bucket)
            except StorageUnavailableError:
                pass
        return self.is_up is True

    async def signed_url(
        self,
        key: str,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        is_public: bool = False,
    ) -> str:
        """A link that opens one object for `link_ttl_s` seconds. Nobody is asked, so it may lead nowhere.

        Args:
            key: Of the object.
            filename: Makes a browser save it under this name.
            content_type: What the answer says it is; None: as it was written.
            is_public: Link to the public endpoint, where there is one.

        Raises:
            StorageUnavailableError: AWS's usual places hold no keys to sign with.
        """
        answer: dict[str, str] = {}
        if filename is not None:
            answer["ResponseContentDisposition"] = content_disposition(filename)
        if content_type is not None:
            answer["ResponseContentType"] = content_type
        client = self._public_s3 if is_public else self._s3
        with self._translated():
            url: str = await client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.options.bucket, "Key": key, **answer},
                ExpiresIn=self.options.link_ttl_s,
            )
        return url

    def note(self, error: BaseException | None) -> None:
        """Remember whether S3 was reached, and log each change once."""
        is_up = error is None
        if is_up == self.is_up:
            return
        was_known, self.is_up = self.is_up is not None, is_up
        if error is not None:
            reason = f"{type(error).__name__}: {error}"
            logger.error(json.dumps({"event": "storage unreachable", "reason": reason}))
        elif was_known:
            logger.warning(json.dumps({"event": "storage reachable again"}))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around a question to the server: its answer shows that the server is there."""
        with self._translated():
            yield
        self.note(None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._unreachable as error:
            self.note(error)
            raise StorageUnavailableError(STORAGE_UNAVAILABLE) from error
