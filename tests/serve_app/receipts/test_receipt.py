import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.receipts.key import (
    ReceiptKeyError,
    described,
    make_key_file,
    read_private_key,
    read_public_key,
)
from serve_app.receipts.receipt import File, Receipt, ReceiptError, ReceiptSigner, check_file, read_receipt

ORIGINAL, MASKED = b"what was sent", b"what came back"


def file_of(data: bytes) -> File:
    digest = hashlib.sha256(data).hexdigest()
    return File(sha256=digest, size_bytes=len(data), format="jpeg", width=640, height=480)


RECEIPT = Receipt(
    request_id="r-1",
    issued_at="2026-11-27T00:00:00Z",
    service="face-api 0.1.0",
    model="scrfd_500m",
    model_sha256="ab" * 32,
    parameters={"method": "solid", "confidence": 0.5},
    input=file_of(ORIGINAL),
    output=file_of(MASKED),
    boxes=[(1.0, 2.0, 30.5, 40.5)],
    residual_faces=0,
)


def test_what_was_signed_is_read_again() -> None:
    key = Ed25519PrivateKey.generate()
    assert read_receipt(ReceiptSigner(key).sign(RECEIPT), key.public_key()) == RECEIPT


def test_a_receipt_of_another_key_is_none() -> None:
    signed = ReceiptSigner(Ed25519PrivateKey.generate()).sign(RECEIPT)
    with pytest.raises(ReceiptError, match="another key"):
        read_receipt(signed, Ed25519PrivateKey.generate().public_key())


def test_any_changed_part_is_noticed() -> None:
    key = Ed25519PrivateKey.generate()
    header, payload, signature = ReceiptSigner(key).sign(RECEIPT).split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    said["boxes"] = []
    changed = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for forged in (
        f"{header}.{changed}.{signature}",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{unsigned}.{payload}.",
        "no receipt",
        "",
    ):
        with pytest.raises(ReceiptError):
            read_receipt(forged, key.public_key())


def test_a_file_is_told_from_another_one() -> None:
    check_file("masked", MASKED, RECEIPT.output)
    with pytest.raises(ReceiptError, match="not the file"):
        check_file("masked", MASKED + b"\0", RECEIPT.output)


def test_a_key_is_made_once_for_its_owner_alone_and_known_by_its_thumbprint(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "key.pem"
    make_key_file(path)
    before = path.read_bytes()
    make_key_file(path)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o077 == 0
    key = read_private_key(path).public_key()
    jwk, pem = tmp_path / "key.json", tmp_path / "public.pem"
    jwk.write_text(described(key).model_dump_json())
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    pem.write_bytes(key.public_bytes(*form))
    assert {described(read_public_key(p)).kid for p in (path, jwk, pem)} == {described(key).kid}


def test_a_key_has_the_name_that_rfc_8037_gives_it(tmp_path: Path) -> None:
    # RFC 8037, appendices A.2 and A.3.
    jwk = tmp_path / "key.json"
    jwk.write_text('{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}')
    assert described(read_public_key(jwk)).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(ReceiptKeyError, match="cannot be read"):
        read_private_key(path)
    path.write_text("hello")
    with pytest.raises(ReceiptKeyError, match=str(path)):
        read_private_key(path)
    with pytest.raises(ReceiptKeyError, match=str(path)):
        read_public_key(path)
    other = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(other)
    with pytest.raises(ReceiptKeyError, match="another kind"):
        read_private_key(path)


def test_a_receipt_is_verified_at_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path))
    make_key_file(tmp_path / "receipt_key.pem")
    signer = ReceiptSigner(read_private_key(tmp_path / "receipt_key.pem"))
    answer, original, masked = tmp_path / "answer.json", tmp_path / "in.jpg", tmp_path / "out.jpg"
    answer.write_text(json.dumps({"receipt": signer.sign(RECEIPT)}))
    original.write_bytes(ORIGINAL)
    masked.write_bytes(MASKED)
    run = CliRunner().invoke
    files = ["--original", str(original), "--masked", str(masked)]
    right = run(app, ["receipt", "verify", str(answer), *files])
    assert right.exit_code == 0, right.output
    assert json.loads(right.stdout)["boxes"] == [[1.0, 2.0, 30.5, 40.5]]
    assert "checked: original and masked" in right.stderr
    wrong = run(app, ["receipt", "verify", str(answer), "--masked", str(original)])
    assert isinstance(wrong.exception, ReceiptError)
    assert json.loads(run(app, ["receipt", "key"]).stdout)["kid"] == signer.public_key.kid
    assert run(app, ["receipt", "key", "--pem"]).stdout.startswith("-----BEGIN PUBLIC KEY-----")


def test_a_new_key_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = CliRunner().invoke(app, ["receipt", "new-key", str(path)])
    assert json.loads(made.stdout)["crv"] == "Ed25519"
    assert CliRunner().invoke(app, ["receipt", "new-key", str(path)]).exit_code == 1
