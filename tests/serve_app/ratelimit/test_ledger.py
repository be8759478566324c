import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.ratelimit.lease import Ask, Grant, Order, Unused
from serve_app.ratelimit.ledger import LEASE_S, Ledger
from serve_app.ratelimit.limit import RateLimit
from tests.serve_app.ratelimit.fakes import PERIOD_S, Clock, per_minute


def one(ledger: Ledger, replica: str, wanted: int, expected: int = 0, *unused: Unused) -> Grant:
    order = Order(replica, (Ask("detect", "a", wanted, expected),), unused)
    (grant,) = ledger.take(order).grants
    return grant


def test_many_asks_are_answered_in_their_order() -> None:
    limits = {"detect": RateLimit(300, 60.0), "mask": RateLimit(2, 60.0), "login": None}
    ledger = Ledger(limits, clock=Clock())
    asks = (Ask("mask", "a", 3, 0), Ask("detect", "a", 1, 0), Ask("mask", "b", 1, 0))
    answer = ledger.take(Order("r", asks, ()))
    assert [grant.tokens for grant in answer.grants] == [2, 1, 1]
    assert [grant.remaining for grant in answer.grants] == [0, 299, 1]
    assert len(ledger) == 3


def test_a_lease_never_lends_more_than_a_small_part_of_what_remains() -> None:
    ledger = Ledger(per_minute(320), clock=Clock())
    assert one(ledger, "r", 1, 1000).tokens == 20
    assert one(ledger, "r", 1, 7).tokens == 7


def test_leases_shrink_with_the_number_of_replicas_that_asked_recently() -> None:
    clock = Clock()
    ledger = Ledger(per_minute(3200), clock=clock)
    for replica in "abcd":
        ledger.take(Order(replica, (), ()))
    assert one(ledger, "a", 1, 1000).tokens == 50
    clock.now_s += 2 * PERIOD_S
    assert one(ledger, "a", 1, 1000).tokens == 200
    assert ledger.take(Order("a", (), ())).replicas == 1


def test_near_the_limit_only_the_requests_that_wait_get_tokens() -> None:
    ledger = Ledger(per_minute(10), clock=Clock())
    assert [one(ledger, "r", 1, 5).tokens for _ in range(12)] == [1] * 10 + [0] * 2


def test_a_refusal_says_when_there_will_be_a_token() -> None:
    clock = Clock()
    ledger = Ledger(per_minute(10), clock=clock)
    one(ledger, "r", 10)
    clock.now_s += 20
    refusal = one(ledger, "r", 1)
    assert (refusal.tokens, refusal.remaining) == (0, 0)
    assert (refusal.reset_s, refusal.retry_after_s) == (40.0, 40.0)


def test_unused_tokens_are_there_for_the_asks_of_the_same_call() -> None:
    ledger = Ledger(per_minute(10), clock=Clock())
    grant = one(ledger, "a", 10)
    assert one(ledger, "b", 5, 0, Unused("detect", "a", grant.slice_s, 3)).tokens == 3


def test_unused_tokens_of_a_window_that_is_over_are_worth_nothing() -> None:
    clock = Clock()
    ledger = Ledger(per_minute(10), clock=clock)
    grant = one(ledger, "a", 10)
    clock.now_s += PERIOD_S
    assert one(ledger, "a", 10).tokens == 10
    assert one(ledger, "a", 1, 0, Unused("detect", "a", grant.slice_s, 10)).tokens == 0


def test_unused_tokens_of_an_unknown_subject_are_ignored() -> None:
    ledger = Ledger(per_minute(10), clock=Clock())
    assert ledger.take(Order("a", (), (Unused("detect", "never seen", 0.0, 5),))).grants == ()
    assert len(ledger) == 0


def test_leases_are_short_against_the_period() -> None:
    ledger = Ledger({"detect": RateLimit(100, 1.0)}, clock=Clock())
    assert one(ledger, "a", 1).lease_s == 0.05
    assert one(Ledger(per_minute(100), clock=Clock()), "a", 1).lease_s == LEASE_S <= 1


def test_subjects_are_bounded_over_all_routes() -> None:
    limits = {"detect": RateLimit(10, 60.0), "mask": RateLimit(10, 60.0)}
    ledger = Ledger(limits, clock=Clock(), most_subjects=100)
    for number in range(1000):
        asks = tuple(Ask(route, str(number), 1, 0) for route in limits)
        ledger.take(Order("r", asks, ()))
    assert len(ledger) == 100


def test_what_crosses_processes_survives_pickling() -> None:
    order = Order("r", (Ask("detect", "a", 1, 0),), (Unused("detect", "a", 1.0, 2),))
    grants = Ledger(per_minute(10), clock=Clock()).take(order)
    assert pickle.loads(pickle.dumps((order, grants))) == (order, grants)  # noqa: S301 - our own


steps = st.tuples(st.sampled_from("ab"), st.integers(1, 4), st.integers(0, 50), st.floats(0, 1))


@settings(max_examples=50)
@given(st.lists(steps, max_size=150), st.integers(1, 400))
def test_what_is_lent_and_not_returned_never_exceeds_the_limit(
    asked: list[tuple[str, int, int, float]], count: int
) -> None:
    clock = Clock()
    ledger = Ledger(per_minute(count), clock=clock)
    kept: list[tuple[float, int]] = []
    for replica, wanted, expected, pause_s in asked:
        clock.now_s += pause_s
        grant = one(ledger, replica, wanted, expected)
        back = max(0, grant.tokens - wanted) // 2
        ledger.take(Order(replica, (), (Unused("detect", "a", grant.slice_s, back),)))
        kept.append((clock.now_s, grant.tokens - back))
        assert sum(tokens for at_s, tokens in kept if at_s > clock.now_s - PERIOD_S) <= count
