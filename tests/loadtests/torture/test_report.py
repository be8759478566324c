import json
from pathlib import Path

from loadtests.torture.promise import Finding, Promise, Proof
from loadtests.torture.report import write_report

HELD = Proof([Finding("nothing fails", "0 of 9 <failed>", holds=True)], ["9 clients"])
BROKEN = Proof([Finding("all well", "not", holds=False), Finding("some well", "yes", holds=True)])


def promise(name: str) -> Promise:
    return Promise(name, f"the promise {name}", lambda *_: HELD)


def test_a_report_says_what_held_and_what_did_not(tmp_path: Path) -> None:
    path = write_report(tmp_path, {"machine": "2 cores"}, {promise("a"): HELD, promise("b"): BROKEN})
    page = path.read_text()
    assert "1 of 2 promises held" in page
    assert "0 of 9 &lt;failed&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    said = json.loads((tmp_path / "report.json").read_text())
    assert [one["holds"] for one in said["promises"]] == [True, False]
    assert said["promises"][1]["findings"][0] == {"promised": "all well", "measured": "not", "holds": False}


def test_a_promise_about_which_nothing_was_found_is_not_held() -> None:
    assert not Proof([]).holds
