from ipaddress import ip_network

import pytest
from starlette.requests import Request

from serve_app.client_address import client_subject, is_https

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("fd00::/8"))


def request(peer: str | None, *forwarded: str, proto: str | None = None, scheme: str = "http") -> Request:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    if proto is not None:
        headers.append((b"x-forwarded-proto", proto.encode()))
    scope = {"type": "http", "scheme": scheme, "path": "/", "server": ("h", 80), "headers": headers}
    return Request({**scope, "client": (peer, 1) if peer else None, "query_string": b""})


@pytest.mark.parametrize(
    ("peer", "forwarded", "subject"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["1.1.1.1"], "203.0.113.7"),  # nobody told us to believe this peer
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),  # what the client wrote itself is left of it
        ("10.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),  # two header lines
        ("10.0.0.1", ["203.0.113.7, 10.0.0.2, 10.0.0.3"], "203.0.113.7"),  # a chain of our own proxies
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, <script>"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.9"], "10.0.0.9"),
        (None, [], "unknown"),
    ],
)
def test_the_subject_is_the_right_most_address_nobody_vouches_for(
    peer: str | None, forwarded: list[str], subject: str
) -> None:
    assert client_subject(request(peer, *forwarded), TRUSTED) == subject


def test_https_is_believed_of_trusted_proxies_only() -> None:
    assert is_https(request("10.0.0.1", proto="https"), TRUSTED)
    assert not is_https(request("203.0.113.7", proto="https"), TRUSTED)
    assert is_https(request("203.0.113.7", scheme="https"), TRUSTED)
    assert not is_https(request("10.0.0.1"), TRUSTED)
