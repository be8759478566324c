import numpy as np
import pytest

from loadtests.torture.trend import trend_of

HOUR = np.arange(0.0, 3600.0, 2.0)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_growth(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(300.0, 5.0, len(HOUR))
    assert not trend_of(HOUR, noise).grows(least=2.0, tests=30)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_of_five_mebibytes_an_hour_is_seen_in_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(300.0, 5.0, len(HOUR))
    trend = trend_of(HOUR, noise + 5 * HOUR / 3600)
    assert trend.grows(least=2.0, tests=90)
    assert trend.low < 5 < trend.high


def test_one_jump_up_and_back_is_no_growth() -> None:
    values = np.full(len(HOUR), 300.0)
    values[700:900] = 500.0
    assert not trend_of(HOUR, values).grows(least=2.0, tests=30)


def test_what_does_not_change_does_not_grow() -> None:
    trend = trend_of(HOUR, np.full(len(HOUR), 12.0))
    assert (trend.slope, trend.p) == (0.0, 1.0)


def test_less_than_the_least_is_nothing() -> None:
    assert not trend_of(HOUR, 300 + HOUR / 3600).grows(least=2.0, tests=30)
    assert trend_of(HOUR, 300 + HOUR / 3600).grows(least=0.5, tests=30)
