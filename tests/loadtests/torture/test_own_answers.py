import json

import pytest

from loadtests.torture.client import BROKEN, Answer
from loadtests.torture.coded import make_coded
from loadtests.torture.own_answers import Tally, findings

CODED = make_coded(3)


def refusal(status: int, detail: object = "try again shortly", **headers: str) -> Answer:
    return Answer(0.0, 0.1, status, json.dumps({"detail": detail}).encode(), headers)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(503, **{"Retry-After": "1"}),
        refusal(504),
        refusal(400, "the picture ended the decoder the last time it was sent; it is refused"),
        Answer(0.0, 0.1, BROKEN, broke="ServerDisconnectedError"),
    ],
    ids=["503", "504", "quarantine", "broken"],
)
def test_a_failure_that_says_so_is_honest(answer: Answer) -> None:
    assert answer.is_honest_failure
    tally = Tally()
    tally.take(CODED, "mask", answer)
    assert tally.dishonest == []
    assert tally.failures.total() == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal(503),
        refusal(500, **{"Retry-After": "1"}),
        refusal(400),
        Answer(0.0, 0.1, 504, b"Gateway Timeout"),
        Answer(0.0, 0.1, 504, b'["detail"]'),
    ],
    ids=["no Retry-After", "500", "blames the client", "no JSON", "no envelope"],
)
def test_any_other_failure_breaks_the_promise(answer: Answer) -> None:
    tally = Tally()
    tally.take(CODED, "detect", answer)
    assert len(tally.dishonest) == 1
    assert not all(finding.holds for finding in findings(tally, 1))


@pytest.mark.parametrize("route", ["detect", "mask"])
def test_an_answer_that_is_not_the_pictures_own_breaks_the_promise(route: str) -> None:
    tally = Tally()
    assert tally.take(CODED, route, Answer(0.0, 0.1, 200, make_coded(4).data))
    assert len(tally.wrong) == 1
    assert not findings(tally, 1)[0].holds
