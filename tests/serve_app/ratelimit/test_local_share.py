from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.local_share import LocalShare

LIMITS = {"detect": RateLimit(10, 60.0), "login": None}


def test_a_replica_lets_its_share_through_and_names_the_whole_limit() -> None:
    share = LocalShare(LIMITS, 100)
    share.divide(2)
    decisions = [share.take("detect", "a", 0.0) for _ in range(7)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 2
    assert (decisions[4].limit, decisions[4].remaining, decisions[4].retry_after_s) == (10, 0, 0.0)
    assert decisions[5].retry_after_s == 60.0


def test_the_share_is_at_least_one() -> None:
    share = LocalShare(LIMITS, 100)
    share.divide(50)
    assert [share.take("detect", "a", 0.0).allowed for _ in range(2)] == [True, False]


def test_counts_outlive_an_outage_as_long_as_the_number_of_replicas_does() -> None:
    share = LocalShare(LIMITS, 100)
    assert sum(share.take("detect", "a", 0.0).allowed for _ in range(20)) == 10
    share.divide(1)
    assert not share.take("detect", "a", 30.0).allowed
