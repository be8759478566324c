from collections import Counter
from pathlib import Path

import pytest

from loadtests.budgets import check, read_budgets
from loadtests.record import Record, Run
from loadtests.report import write_report
from loadtests.usage import Cost, Usage, deployment_of, since
from loadtests.wrk import Driven
from serve_app.advise.outcome import Outcome

COST = Cost({"Ingress": Usage(1.0, 2**20), "Decoder": Usage(3.0, 2 * 2**20)}, 0.5, 9.0)


def record(rate: float = 20.0, errors: int = 0) -> Record:
    driven = Driven(int(rate * 10), 0, 0, 10.0, {"50": 9.0, "90": 10.0, "99": 12.0, "99.9": 20.0})
    stages = {"decode": [2.0] * 200, "queue": [1.0] * 200, "total": [5.0] * 200, "batch_size": [1.0] * 200}
    outcome = Outcome(
        10.0, [float(n) for n in range(1, 201)], [0.1] * 200, 3, Counter({"500": errors}), stages
    )
    runs = [Run.of_wrk("detect", 8, driven, COST), Run.of_outcome("detect", "open", 12.0, outcome, COST)]
    curves = [Run.of_outcome("detect", "open", load, outcome, COST) for load in (5.0, 12.0)]
    return Record({"date": "2026-11-27", "machine": "2 cores"}, runs, curves)


def test_a_run_knows_no_percentile_beyond_its_last_answer() -> None:
    run = record().runs[1]
    assert set(run.latency_ms) == {"50", "90", "99"}
    assert run.latency_ms["50"] == pytest.approx(100.5)
    assert (run.stages_ms["decode"], run.stages_ms["total"]) == (2.0, 5.0)
    assert run.batch_sizes == {"1": 200}
    assert run.sheds == 3


def test_processor_time_and_memory_are_those_of_all_deployments() -> None:
    run = record().runs[0]
    assert run.cpu_ms == pytest.approx(4.0 / 200 * 1e3)
    assert run.memory_mib == 3.0


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record()
    written.write(tmp_path / "record.json")
    assert Record.read(tmp_path / "record.json") == written


def test_another_file_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(SystemExit, match="no record of a load test"):
        Record.read(tmp_path / "x.json")


def test_budgets_are_kept_or_broken() -> None:
    kept = check(record(), {"detect": {"requests_per_s": 20, "p99_ms": 199}, "any": {"errors": 0}})
    assert [verdict.is_kept for verdict in kept] == [True, True, True]
    broken = check(record(errors=1), {"detect": {"requests_per_s": 21}, "any": {"errors": 0, "sheds": 2}})
    assert [str(verdict) for verdict in broken if not verdict.is_kept] == [
        "detect, requests_per_s: 20.0 /s; at least 21",
        "detect, errors: 1.0; at most 0",
        "detect, sheds: 3.0; at most 2",
    ]


def test_what_was_not_measured_keeps_no_budget() -> None:
    (unknown,) = check(record(), {"detect": {"p99.9_ms": 1e9}})
    (absent,) = check(record(), {"mask": {"p50_ms": 1e9}})
    assert not unknown.is_kept
    assert not absent.is_kept


def test_shipped_budgets_can_be_read() -> None:
    assert "any" in read_budgets(Path("loadtests/budgets.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("detect: {speed: 3}", "no figure speed"),
        ("detect: {p50_ms: fast}", "wants a number"),
        ("- 1", "wanted are"),
    ],
)
def test_a_wrong_file_of_budgets_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(SystemExit, match=said):
        read_budgets(tmp_path / "b.yaml")


def test_the_report_holds_its_figures_and_asks_no_other_host(tmp_path: Path) -> None:
    now = record(errors=1)
    page = write_report(tmp_path, now, record(10.0), check(now, {"any": {"errors": 0}})).read_text()
    for gone in ("http://", "https://", "<script", "url("):
        assert gone not in page
    assert page.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png"))) >= 7
    assert "1 of 1 budgets are broken" in page
    assert "Other programs were busy on this machine during 2 of 2 runs, with up to 0.9 cores" in page
    assert "+100%" in page  # twice the other record's rate


def test_processes_are_put_to_their_deployment() -> None:
    assert deployment_of("ray::ServeReplica:face-api:Decoder", "ray::ServeRepl") == "Decoder"
    assert deployment_of("postgres: writer", "postgres") == "PostgreSQL"
    assert deployment_of("raylet --x", "raylet") == "Ray and launcher"


def test_a_replica_that_came_meanwhile_counts_from_its_start() -> None:
    assert since({"A": Usage(1.0, 5)}, {"A": Usage(3.0, 7), "B": Usage(2.0, 1)}) == {
        "A": Usage(2.0, 7),
        "B": Usage(2.0, 1),
    }
