"""Requests that are none, or not whole: what is sent, and what must come of it."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PARTS: Final = 100_000
BOUNDARY: Final = b"rude"


@dataclass(frozen=True, slots=True)
class Malformed:
    """One of them."""

    name: str
    data: bytes
    statuses: frozenset[int]  # one of which the first answer has


def malformed(key: str, picture: bytes) -> list[Malformed]:
    """All of them.

    Args:
        key: An API key, so that it is the request that is refused and not its sender.
        picture: An encoded one that would be accepted.
    """
    return [*_heads(key), *_bodies(key, picture), *_forms(key, picture)]


def head(key: str, *lines: bytes, line: bytes = b"POST /api/v1/detect HTTP/1.1") -> bytes:
    """A head that is sound but for what is given."""
    return b"\r\n".join([line, b"Host: a", b"X-API-Key: " + key.encode(), *lines, b"", b""])


def _heads(key: str) -> Iterator[Malformed]:
    bad, chunk = frozenset({400}), b"5\r\nabcde\r\n0\r\n\r\n"
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: 5"
    yield Malformed("length and chunks", head(key, length, chunked) + chunk, bad)
    yield Malformed("chunks and length", head(key, chunked, length) + chunk, bad)
    yield Malformed("two lengths", head(key, length, b"Content-Length: 6") + b"abcdef", bad)
    yield Malformed("a length with a sign", head(key, b"Content-Length: +5") + b"abcde", bad)
    yield Malformed(
        "compressed chunks", head(key, b"Transfer-Encoding: gzip, chunked") + chunk, frozenset({501})
    )
    yield Malformed("two hosts", head(key, b"Host: b"), bad)
    yield Malformed("a folded header", head(key, b"X: a\r\n b"), bad)
    yield Malformed("bare line feeds", head(key).replace(b"\r\n", b"\n"), bad)
    yield Malformed("a megabyte of headers", head(key, b"X: " + b"a" * 2**20), frozenset({431}))
    yield Malformed("a thousand headers", head(key, *(b"X-%d: a" % n for n in range(1000))), frozenset({431}))
    yield Malformed("HTTP/0.9", b"GET /\r\n\r\n", frozenset({505}))
    yield Malformed("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad)
    yield Malformed("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", bad)
    yield Malformed("an unknown method", head(key, line=b"STEAL /api/v1/detect HTTP/1.1"), bad)
    yield Malformed(
        "a known one that is wrong", head(key, line=b"DELETE /api/v1/detect HTTP/1.1"), frozenset({405})
    )
    yield Malformed("a tunnel", head(key, line=b"CONNECT a:443 HTTP/1.1"), bad)


def _bodies(key: str, picture: bytes) -> Iterator[Malformed]:
    jpeg, chunked = b"Content-Type: image/jpeg", b"Transfer-Encoding: chunked"
    bad = frozenset({400})
    yield Malformed("garbage in place of chunks", head(key, jpeg, chunked) + b"zz\r\n" + picture, bad)
    yield Malformed("a chunk longer than it says", head(key, jpeg, chunked) + b"3\r\nabcde\r\n0\r\n\r\n", bad)
    yield Malformed(
        "an endless trailer", head(key, jpeg, chunked) + b"0\r\nX: " + b"a" * 2**20, frozenset({431})
    )
    shorter = b"Content-Length: %d" % (len(picture) // 2)
    yield Malformed("more than its length", head(key, jpeg, shorter) + picture, bad)
    longer = b"Content-Length: %d" % (2 * len(picture))
    yield Malformed("less than its length", head(key, jpeg, longer) + picture, frozenset({408}))
    zipped = gzip.compress(picture)
    length = b"Content-Length: %d" % len(zipped)
    encoded = head(key, jpeg, b"Content-Encoding: gzip", length) + zipped
    yield Malformed("a compressed body", encoded, frozenset({415}))
    yield Malformed(
        "a length beyond every limit", head(key, jpeg, b"Content-Length: 999999999999"), frozenset({413})
    )


def _forms(key: str, picture: bytes) -> Iterator[Malformed]:
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
    end = b"\r\n--%s--\r\n" % BOUNDARY
    image = part % (BOUNDARY, b"image") + picture
    broken = frozenset({422})
    form = b"multipart/form-data; boundary="

    def sent(name: str, kind: bytes, body: bytes, statuses: frozenset[int] = broken) -> Malformed:
        lines = (b"Content-Type: " + kind, b"Content-Length: %d" % len(body))
        return Malformed(name, head(key, *lines) + body, statuses)

    many = (part % (BOUNDARY, b"x") + b"\r\n") * PARTS
    yield sent(f"{PARTS} parts", form + BOUNDARY, many + image + end)
    headers = b"\r\nX: y" * 1000 + b"\r\n\r\n"
    yield sent("a part of headers", form + BOUNDARY, image.replace(b"\r\n\r\n", headers, 1) + end)
    yield sent("two pictures", form + BOUNDARY, image + b"\r\n" + image + end)
    yield sent("no boundary", b"multipart/form-data", image + end)
    yield sent("an empty boundary", form + b'""', image + end)
    yield sent("a boundary of ten thousand", form + b"x" * 10_000, image + end)
    yield sent("another boundary", form + b"other", image + end)
    yield sent("a boundary that begins like it", form + BOUNDARY, image + b"\r\n--%s2--\r\n" % BOUNDARY)
    yield sent("no end", form + BOUNDARY, image)
