"""The Ed25519 key that signs receipts, in a file that only its owner reads."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel

from models.errors import FaceError

ONLY_OWNER: Final = 0o600


class ReceiptKeyError(FaceError):
    """A key file cannot be read or written, or holds no Ed25519 key."""


class PublicKey(BaseModel):
    """A public key as JSON (RFC 8037, section 2)."""

    kty: str = "OKP"
    crv: str = "Ed25519"
    x: str  # base64url, without padding
    kid: str  # RFC 7638: the same key has the same name everywhere
    use: str = "sig"
    alg: str = "EdDSA"


def make_key_file(path: Path) -> None:
    """Make a key; a file that is there stays.

    Raises:
        ReceiptKeyError: It cannot be written.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ONLY_OWNER)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except FileExistsError:
        return
    except OSError as error:
        raise ReceiptKeyError(f"{path} cannot be written ({error.strerror})") from error


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file (PKCS #8).

    Raises:
        ReceiptKeyError: There is none.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ReceiptKeyError(f"the key of receipts, {path}, cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise ReceiptKeyError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ReceiptKeyError(f"{path} holds a key of another kind; receipts are signed with Ed25519")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a file: JSON as the service shows it, PEM, or the PEM of the private key.

    Raises:
        ReceiptKeyError: There is none.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ReceiptKeyError(f"{path} cannot be read ({error.strerror})") from error
    if b"PRIVATE KEY" in text:
        return read_private_key(path).public_key()
    try:
        if text.lstrip().startswith(b"{"):
            return Ed25519PublicKey.from_public_bytes(_from_base64url(json.loads(text)["x"]))
        key = serialization.load_pem_public_key(text)
    except (ValueError, TypeError, KeyError) as error:
        raise ReceiptKeyError(f"{path} holds no public key, neither as JSON nor as PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ReceiptKeyError(f"{path} holds a key of another kind; receipts are signed with Ed25519")
    return key


def described(key: Ed25519PublicKey) -> PublicKey:
    """A key as the API shows it."""
    x = _base64url(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
    # RFC 7638, section 3: required members only, sorted, without white space.
    thumbprint = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":")).encode()
    return PublicKey(x=x, kid=_base64url(hashlib.sha256(thumbprint).digest()))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
