from serve_app.ratelimit.held import Holdings
from serve_app.ratelimit.lease import Ask, Grant, Unused

ASK = Ask("detect", "a", 1, 0)
KEY = ("detect", "a")


def grant(tokens: int, retry_after_s: float = 0.0) -> Grant:
    return Grant(tokens, 0.5, 7.0, 20, 60.0, retry_after_s)


def test_a_lease_is_spent_token_by_token_until_it_ends() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(3), 0.0)
    lease = holdings.get(KEY)
    assert lease is not None
    first, second = lease.decide(300, 0.1), lease.decide(300, 0.4)
    assert first is not None
    assert second is not None
    assert (first.remaining, second.remaining) == (22, 21)
    assert (first.allowed, second.reset_s) == (True, 59.6)
    assert lease.decide(300, 0.5) is None


def test_a_refusal_stands_for_a_second_and_counts_down() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(0, 30.0), 0.0)
    lease = holdings.get(KEY)
    assert lease is not None
    refusal = lease.decide(300, 0.9)
    assert refusal is not None
    assert (refusal.allowed, refusal.remaining, refusal.retry_after_s) == (False, 0, 29.1)
    assert lease.decide(300, 1.0) is None


def test_a_refusal_stands_no_longer_than_until_there_is_a_token() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(0, 0.2), 0.0)
    lease = holdings.get(KEY)
    assert lease is not None
    assert lease.decide(300, 0.1) is not None
    assert lease.decide(300, 0.2) is None


def test_a_lease_that_did_not_last_is_followed_by_a_larger_one() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(1), 0.0)
    lease = holdings.get(KEY)
    assert lease is not None
    lease.decide(300, 0.0)
    assert holdings.end(KEY, 0.1) == 2
    assert holdings.end(KEY, 0.1) == 0  # nothing is known any more


def test_a_lease_that_lasted_is_followed_by_one_of_what_it_used() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(8), 0.0)
    lease = holdings.get(KEY)
    assert lease is not None
    for _ in range(3):
        lease.decide(300, 0.1)
    assert holdings.end(KEY, 0.6) == 3
    assert holdings.collect_unused() == (Unused("detect", "a", 7.0, 5),)
    assert holdings.collect_unused() == ()


def test_sweeping_drops_what_is_over_and_says_when_more_will_be() -> None:
    holdings = Holdings(10)
    holdings.add(ASK, grant(2), 0.0)
    holdings.add(Ask("detect", "b", 1, 0), grant(2), 0.2)
    assert holdings.sweep(0.4) == 0.5 - 0.4
    assert holdings.sweep(0.6) == 0.7 - 0.6
    assert len(holdings) == 1
    assert holdings.has_unused
    assert holdings.sweep(0.7) is None


def test_the_oldest_lease_makes_room_and_returns_its_tokens() -> None:
    holdings = Holdings(2)
    for subject in "abc":
        holdings.add(Ask("detect", subject, 1, 0), grant(2), 0.0)
    assert len(holdings) == 2
    assert [unused.subject for unused in holdings.collect_unused()] == ["a"]
