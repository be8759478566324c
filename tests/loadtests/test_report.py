import pytest

from loadtests.compare.report import BareRound, Round, table, warnings


def a_round(server: str, answers: int, *, clients: int = 8, failures: int = 0) -> Round:
    return Round(
        model="scrfd_500m",
        route="detect",
        clients=clients,
        server=server,
        answers=answers,
        failures=failures,
        seconds=2.0,
        p50_ms=20.0,
        p99_ms=40.0,
        cpu_s=4.0,
        peak_bytes=300 * 2**20,
    )


def test_a_round_counts_good_answers_and_the_time_each_took() -> None:
    done = a_round("ours", 100)
    assert done.rate == 50
    assert done.cpu_ms == pytest.approx(40)


def test_the_table_has_medians_over_rounds_and_ours_over_theirs() -> None:
    rounds = [a_round("ours", n) for n in (100, 300, 200)]
    rounds += [a_round("uvicorn", n, failures=1) for n in (40, 50, 60)]
    lines = table(rounds, []).splitlines()
    assert lines[2:] == [
        "| scrfd_500m | /detect | 8 | ours | 100.0 | 20.0 | 40.0 | 20.0 | 300 | 0 |",
        "| scrfd_500m | /detect | 8 | uvicorn | 25.0 | 20.0 | 40.0 | 80.0 | 300 | 3 |",
        "| scrfd_500m | /detect | 8 | **ours ÷ uvicorn** | 4.00 | 1.00 | 1.00 | 0.25 | 1.00 | |",
    ]
    assert {line.count("|") for line in lines} == {11}


def test_the_share_of_the_bare_loop_is_that_of_the_highest_load() -> None:
    rounds = [a_round("ours", 100, clients=8), a_round("ours", 160, clients=32)]
    bare = [BareRound("scrfd_500m", "detect", rate) for rate in (90.0, 100.0, 130.0)]
    last = table(rounds, bare).splitlines()[-1]
    assert last == "| scrfd_500m | /detect | | bare loop | 100.0 (ours at 32: 80%) | | | | | |"


def test_a_server_that_gave_no_good_answer_still_has_a_line() -> None:
    lines = table([a_round("ours", 100), a_round("uvicorn", 0, failures=9)], []).splitlines()
    assert lines[3] == "| scrfd_500m | /detect | 8 | uvicorn | 0.0 | 20.0 | 40.0 | nan | 300 | 9 |"
    assert "| – |" in lines[4]


def test_failures_and_rounds_too_short_are_pointed_out() -> None:
    assert warnings([a_round("ours", 100)]) == []
    (failed,) = warnings([a_round("ours", 100, failures=2)])
    assert "2 failures" in failed
    (short,) = warnings([a_round("ours", 30)])
    assert "more --seconds" in short
