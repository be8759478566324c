"""Makes receipts for answers of /mask."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from deployments.errors import StageLostError
from deployments.types import Anonymised, FacePipeline
from serve_app.access import TierOffError
from serve_app.receipts.key import PublicKey, read_private_key
from serve_app.receipts.receipt import File, Receipt, ReceiptSigner
from serve_app.schemas.mask import MaskImageQuery

SERVICE: Final = f"face-api {version('face-api')}"
NOT_SIGNED: Final = {"store", "receipt"}
"""Parameters that say nothing of the picture."""


class Receipts:
    """Signs what was done, where the service has a key."""

    def __init__(self, pipeline: FacePipeline, key_file: Path, *, is_required: bool) -> None:
        """Read the key.

        Args:
            pipeline: Says which model answers.
            key_file: Of the service.
            is_required: Whether an operator named the file: then it must be there.

        Raises:
            ReceiptKeyError: The file holds no key, or is required and missing.
        """
        self._pipeline = pipeline
        has_key = is_required or key_file.exists()
        self._signer = ReceiptSigner(read_private_key(key_file)) if has_key else None

    def check(self) -> None:
        """Raise TierOffError where there is no key: before work that would be in vain."""
        self._required()

    @property
    def public_key(self) -> PublicKey:
        """What receipts are checked with; raises TierOffError where there is no key."""
        return self._required().public_key

    async def issue(self, request_id: str, original: bytes, result: Anonymised, query: MaskImageQuery) -> str:
        """A signed receipt of one masked picture.

        Args:
            request_id: Of the request.
            original: The upload.
            result: What came of it.
            query: The parameters.

        Raises:
            TierOffError: There is no key.
            StageLostError: Another model is served by now.
        """
        signer = self._required()
        model = await self._pipeline.served_model()
        if model.name != result.analysed.inferred.model:
            raise StageLostError("the model changed meanwhile; try again shortly")
        info = result.analysed.info
        receipt = Receipt(
            request_id=request_id,
            issued_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            service=SERVICE,
            model=model.name,
            model_sha256=model.digest,
            parameters=query.model_dump(exclude=NOT_SIGNED),
            input=_file(original, info.format, info.width, info.height),
            output=_file(result.masked.data, query.format, info.width, info.height),
            boxes=[(x1, y1, x2, y2) for x1, y1, x2, y2 in result.hidden.astype(np.float64).round(1).tolist()],
            residual_faces=result.residual_faces,
        )
        return signer.sign(receipt)

    def _required(self) -> ReceiptSigner:
        if self._signer is None:
            raise TierOffError(
                "this service has no key to sign receipts with; its operator makes one with "
                "`face-api receipt new-key` and names it in FACE_API_RECEIPT_KEY"
            )
        return self._signer


def _file(data: bytes, image_format: str, width: int, height: int) -> File:
    digest = hashlib.sha256(data).hexdigest()
    return File(sha256=digest, size_bytes=len(data), format=image_format, width=width, height=height)
