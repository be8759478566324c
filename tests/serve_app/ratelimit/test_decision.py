from serve_app.ratelimit.decision import Decision


def test_headers_are_whole_seconds_rounded_up() -> None:
    assert Decision(True, 300, 299, 59.01, 0.0).headers() == {
        "RateLimit-Limit": "300",
        "RateLimit-Remaining": "299",
        "RateLimit-Reset": "60",
    }


def test_only_a_refusal_says_when_to_come_back() -> None:
    assert Decision(False, 10, 0, 12.0, 12.0).headers()["Retry-After"] == "12"
    assert Decision(False, 10, 0, 0.0, 0.0).headers()["Retry-After"] == "1"
