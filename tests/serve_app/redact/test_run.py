import hashlib
import json
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deployments.types import MaskParams
from serve_app.redact import run as run_module
from serve_app.redact.errors import PlaceError, RedactionError
from serve_app.redact.worker import Redactor, failed
from tests.serve_app.redact.conftest import Bench, Killed, picture, shows_no_face


def lines(target: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (target / "manifest.jsonl").read_text().splitlines()]


def statuses(target: Path) -> dict[str, str]:
    return {line["source"]: line["status"] for line in lines(target)}


def files(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".redact/")} - {"redaction.json", "manifest.jsonl"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_each_picture_is_masked_and_the_manifest_says_how(bench: Bench) -> None:
    original = bench.add("a.png", picture())
    bench.add("sub/b.PNG", picture(5, 5))
    bench.add("sub/c.jpg", picture(7, 1))  # named wrongly: its bytes decide
    before = original.read_bytes()
    totals = bench.run()
    assert (totals.masked, totals.faces, totals.skipped, totals.failed) == (3, 3, 0, 0)
    assert files(bench.target) == {"a.png", "sub/b.PNG", "sub/c.jpg.png"}
    for line in lines(bench.target):
        output = (bench.target / line["output"]).read_bytes()
        assert shows_no_face(output)
        assert line["output_sha256"] == sha256(output)
        assert line["output_bytes"] == len(output)
        assert line["sha256"] == sha256((bench.source / line["source"]).read_bytes())
        assert (line["status"], line["faces"], line["reason"]) == ("masked", 1, None)
        assert line["parameters"]["method"] == "solid"
        assert line["model"]["sha256"] == bench.pool.plan.model_sha256
    assert original.read_bytes() == before


def test_what_is_no_picture_is_skipped_and_what_fails_is_listed_and_not_copied(bench: Bench) -> None:
    bench.add("notes.txt", b"hello")
    bench.add("empty.jpg", b"")
    bench.add("cut.png", picture()[:400])
    bench.add("large.png", picture() + b"x" * 1_000_000)
    bench.add("wide.png", picture(size=1200))
    bench.add("good.png", picture())
    totals = bench.run()
    assert (totals.masked, totals.skipped, totals.failed) == (1, 2, 3)
    assert files(bench.target) == {"good.png"}
    said = {line["source"]: line for line in lines(bench.target)}
    assert said["notes.txt"]["status"] == said["empty.jpg"]["status"] == "skipped"
    assert "FACE_API_MAX_UPLOAD_BYTES" in said["large.png"]["reason"]
    assert "1000000" in said["wide.png"]["reason"]
    assert said["cut.png"]["reason"]
    assert all(said[name]["output"] is None for name in said if name != "good.png")


def test_a_second_run_does_nothing_that_was_done(bench: Bench) -> None:
    bench.add("a.png", picture())
    bench.add("b.txt", b"no picture")
    first = bench.run()
    manifest = (bench.target / "manifest.jsonl").read_bytes()
    changed = (bench.target / "a.png").stat().st_mtime_ns
    assert bench.run() == first
    assert bench.pool.asked == []
    assert (bench.target / "manifest.jsonl").read_bytes() == manifest
    assert (bench.target / "a.png").stat().st_mtime_ns == changed


@pytest.mark.parametrize("stop_after", [0, 1, 4, 9])
def test_a_run_that_was_killed_goes_on_and_does_each_source_once(
    bench: Bench, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture of the kill lies in its place already, without a line: it is done again."""
    for number in range(10):
        bench.add(f"{number}.png", picture(number, number))
    monkeypatch.setattr(run_module.Journal, "flush", lambda self: None)  # what was not yet written is lost
    with pytest.raises(Killed):
        bench.run(stop_after=stop_after)
    monkeypatch.undo()
    assert len(files(bench.target)) == stop_after + 1
    assert bench.run().masked == 10
    assert Counter(line["source"] for line in lines(bench.target)) == {f"{n}.png": 1 for n in range(10)}
    assert all(shows_no_face((bench.target / name).read_bytes()) for name in files(bench.target))


def test_lines_that_were_written_are_not_done_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        bench.add(f"{number}.png", picture(number, number))
    monkeypatch.setattr(run_module, "FLUSH_RECORDS", 1)
    with pytest.raises(Killed):
        bench.run(stop_after=4)
    assert len(lines(bench.target)) == 4
    bench.run()
    assert bench.pool.asked == [["4.png", "5.png"]]
    assert len(lines(bench.target)) == 6


def test_a_line_that_was_cut_short_is_cut_off(bench: Bench) -> None:
    for number in range(3):
        bench.add(f"{number}.png", picture(number, number))
    bench.run()
    path = bench.target / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-200])
    assert bench.run().masked == 3
    assert len(bench.pool.asked[0]) == 1
    assert len(lines(bench.target)) == 3


def test_a_picture_that_is_lost_or_cut_short_in_the_target_is_made_again(bench: Bench) -> None:
    for name in ("a.png", "b.png", "c.png"):
        bench.add(name, picture())
    bench.run()
    (bench.target / "a.png").unlink()
    (bench.target / "b.png").write_bytes(b"short")
    assert bench.run().masked == 3
    assert sorted(bench.pool.asked[0]) == ["a.png", "b.png"]
    assert shows_no_face((bench.target / "b.png").read_bytes())


def test_failures_are_tried_again_and_changed_sources_done_anew(bench: Bench) -> None:
    bench.add("a.png", picture()[:300])
    bench.add("b.png", picture())
    assert bench.run().failed == 1
    bench.add("a.png", picture(4, 4))
    changed = bench.add("b.png", picture(6, 6))
    os.utime(changed, ns=(1, 1))
    totals = bench.run()
    assert (totals.masked, totals.failed) == (2, 0)
    assert statuses(bench.target) == {"a.png": "masked", "b.png": "masked"}
    last = {line["source"]: line["sha256"] for line in lines(bench.target)}
    assert last["b.png"] == sha256(changed.read_bytes())


def test_two_sources_never_share_an_output(bench: Bench) -> None:
    bench.add("a.jpg", picture(1, 1))
    bench.add("a.jpg.png", picture(2, 2))
    totals = bench.run()
    assert (totals.masked, totals.failed) == (1, 1)
    assert statuses(bench.target) == {"a.jpg": "failed", "a.jpg.png": "masked"}
    assert files(bench.target) == {"a.jpg.png"}


def test_a_target_with_other_peoples_files_is_refused_and_left_alone(bench: Bench) -> None:
    bench.add("a.png", picture())
    bench.target.mkdir()
    (bench.target / "a.png").write_bytes(b"precious")
    with pytest.raises(PlaceError, match=r"a\.png, which redact did not put there"):
        bench.run()
    assert (bench.target / "a.png").read_bytes() == b"precious"


def test_a_target_is_made_with_one_source_model_and_set_of_parameters(bench: Bench) -> None:
    bench.add("a.png", picture())
    bench.run()
    with pytest.raises(PlaceError, match="begun with method solid, not pixelate"):
        bench.run(masking=MaskParams(method="pixelate", padding=0.0, format="png"))
    other = bench.folder / "other"
    other.mkdir()
    with pytest.raises(PlaceError, match="begun with source"):
        bench.run(source=other)
    assert len(lines(bench.target)) == 1


def test_a_second_run_at_the_same_time_is_refused(bench: Bench) -> None:
    bench.add("a.png", picture())

    class Second:
        def begin(self, total: int, left: int) -> None:
            with pytest.raises(PlaceError, match="another redact"):
                bench.run()

        def note(self, record: object) -> None:
            pass

    watch, bench.watch = bench.watch, Second()  # type: ignore[assignment]
    bench.run()
    bench.watch = watch
    assert statuses(bench.target) == {"a.png": "masked"}


def test_a_place_in_trouble_ends_the_run_and_what_was_done_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        bench.add(f"{number:02}.png", picture())
    real = Redactor.redact

    async def full(self: Redactor, entry: Any) -> Any:
        if entry.name < "05":
            return await real(self, entry)
        return failed(entry, "OSError: No space left on device", is_trouble=True)

    monkeypatch.setattr(Redactor, "redact", full)
    with pytest.raises(RedactionError, match="No space left"):
        bench.run()
    assert Counter(statuses(bench.target).values()) == {"masked": 5, "failed": 50}
    monkeypatch.undo()
    assert bench.run().masked == 60


def test_from_a_zip_to_a_zip(bench: Bench) -> None:
    source, target = bench.folder / "photos.zip", bench.folder / "masked.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a.png", picture())
        archive.writestr("sub/b.png", picture(4, 4))
        archive.writestr("../up.png", picture())
        archive.writestr("notes.txt", "no picture")
    before = source.read_bytes()
    totals = bench.run(source, target)
    assert (totals.masked, totals.skipped, totals.failed) == (2, 1, 1)
    with zipfile.ZipFile(target) as archive:
        assert set(archive.namelist()) == {"redaction.json", "manifest.jsonl", "a.png", "sub/b.png"}
        assert shows_no_face(archive.read("a.png"))
        assert shows_no_face(archive.read("sub/b.png"))
    assert source.read_bytes() == before
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in", "masked.zip", "photos.zip"]


def test_a_zip_that_was_made_is_extended_and_a_run_without_work_leaves_it(bench: Bench) -> None:
    target = bench.folder / "masked.zip"
    bench.add("a.png", picture())
    bench.run(target=target)
    first = target.read_bytes()
    bench.run(target=target)
    assert target.read_bytes() == first
    bench.add("b.png", picture(4, 4))
    assert bench.run(target=target).masked == 2
    assert bench.pool.asked == [["b.png"]]
    with zipfile.ZipFile(target) as archive:
        assert {"a.png", "b.png"} <= set(archive.namelist())
        assert len(archive.read("manifest.jsonl").splitlines()) == 2


@pytest.mark.parametrize("stop_after", [0, 2])
def test_a_zip_appears_when_all_of_it_is_there(bench: Bench, stop_after: int) -> None:
    target = bench.folder / "masked.zip"
    for number in range(4):
        bench.add(f"{number}.png", picture(number, number))
    with pytest.raises(Killed):
        bench.run(target=target, stop_after=stop_after)
    assert not target.exists()
    assert bench.run(target=target).masked == 4
    assert target.exists()


def test_somebody_elses_zip_is_left_alone(bench: Bench) -> None:
    target = bench.folder / "mine.zip"
    bench.add("a.png", picture())
    for content in (b"no zip at all", picture()):
        target.write_bytes(content)
        with pytest.raises(PlaceError, match=r"mine\.zip is there"):
            bench.run(target=target)
        assert target.read_bytes() == content
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.png", b"precious")
    with pytest.raises(PlaceError, match="did not make it"):
        bench.run(target=target)
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in", "mine.zip"]


def test_names_that_are_no_utf8_are_kept(bench: Bench) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    bench.add(name, picture())
    assert bench.run().masked == 1
    assert bench.run().masked == 1
    assert (bench.target / name).exists()


def test_windows_bound_what_is_in_memory_and_leave_nothing_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "WINDOW", 3)
    for number in range(8):
        bench.add(f"{number}.png", picture())
    assert bench.run().masked == 8
    assert [len(names) for names in bench.pool.asked] == [3, 3, 2]
