import pytest

from serve_app.ratelimit.limit import RateLimit, parse_rate_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("300/minute", RateLimit(300, 60)),
        ("1/second", RateLimit(1, 1)),
        ("5/hours", RateLimit(5, 3600)),
        (" 10000000 / Day ", RateLimit(10_000_000, 86400)),
        ("off", None),
        ("OFF", None),
    ],
)
def test_a_count_and_a_period_or_off_is_read(text: str, limit: RateLimit | None) -> None:
    assert parse_rate_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    ["", "300", "0/minute", "-1/minute", "10000001/day", "1.5/second", "5/week", "5/10 minutes", "٣/minute"],
)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"count from 1 to 10000000 .* 300/minute .* or off"):
        parse_rate_limit(text)
