"""A receipt: what went in, what came out, and what was hidden, signed as a JWS (RFC 7515) with Ed25519."""

import hashlib
import json
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import FaceError
from serve_app.receipts.key import PublicKey, described

ALGORITHM: Final = "EdDSA"
KIND: Final = "face-api-receipt+jws"
VERSION: Final = 1


class ReceiptError(FaceError):
    """A receipt is none, was changed, was signed by another key, or is of another picture."""


class File(BaseModel):
    """A picture as bytes."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    size_bytes: int
    format: str
    width: int  # upright
    height: int


class Receipt(BaseModel):
    """What is signed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    version: int = VERSION
    request_id: str
    issued_at: str  # RFC 3339, UTC
    service: str  # name and version
    model: str
    model_sha256: str
    parameters: dict[str, Any]  # as the client gave them, or their defaults
    input: File
    output: File
    boxes: list[tuple[float, float, float, float]]
    """x1, y1, x2, y2 of what was hidden, in pixels of the upright picture: faces, without padding."""
    residual_faces: int | None
    """Found in the first masked picture, and hidden harder since; None where nobody looked."""


class ReceiptSigner:
    """Signs with the service's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: PublicKey = described(key.public_key())

    def sign(self, receipt: Receipt) -> str:
        """The receipt as a compact JWS: three parts in base64url, joined by dots."""
        payload = json.dumps(receipt.model_dump(), separators=(",", ":"), allow_nan=False).encode()
        headers = {"typ": KIND, "kid": self.public_key.kid}
        return jwt.PyJWS().encode(payload, self._key, algorithm=ALGORITHM, headers=headers)


def read_receipt(text: str, key: Ed25519PublicKey) -> Receipt:
    """What a receipt says, once its signature is right.

    Args:
        text: The compact JWS.
        key: Of the service that is said to have made it.

    Raises:
        ReceiptError: It is no receipt, or not signed by this key.
    """
    try:
        payload = jwt.PyJWS().decode(text.strip(), key, algorithms=[ALGORITHM])
    except jwt.InvalidSignatureError as error:
        raise ReceiptError(
            "the signature is wrong: the receipt was changed, or made with another key"
        ) from error
    except jwt.PyJWTError as error:
        raise ReceiptError("this is no receipt") from error
    try:
        return Receipt.model_validate_json(payload)
    except ValidationError as error:
        raise ReceiptError("this is signed, but it is no receipt of a version that is known here") from error


def check_file(name: str, data: bytes, stated: File) -> None:
    """Whether a file is the one that a receipt speaks of.

    Raises:
        ReceiptError: It is another one.
    """
    if hashlib.sha256(data).hexdigest() != stated.sha256:
        raise ReceiptError(f"{name} is not the file that the receipt speaks of: its SHA-256 is another one")
