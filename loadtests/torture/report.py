"""What was promised, measured, and held: one HTML file that asks no other host for anything, and JSON."""

import dataclasses
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from loadtests.torture.promise import Promise, Proof

TEMPLATE: Final = Path(__file__).with_name("report.html")


def write_report(folder: Path, facts: Mapping[str, str], proofs: Mapping[Promise, Proof]) -> Path:
    """Write `report.json` and `report.html`, and say where the second is."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "facts": dict(facts),
        "promises": [
            {"name": promise.name, "text": promise.text, "holds": proof.holds, **dataclasses.asdict(proof)}
            for promise, proof in proofs.items()
        ],
    }
    (folder / "report.json").write_text(json.dumps(said, indent=1))
    path = folder / "report.html"
    held = sum(proof.holds for proof in proofs.values())
    page = Template(TEMPLATE.read_text()).substitute(
        verdict="good" if held == len(proofs) else "bad",
        summary=f"{held} of {len(proofs)} promises held",
        facts="".join(
            f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items()
        ),
        promises="".join(_section(promise, proof) for promise, proof in proofs.items()),
    )
    path.write_text(page)
    return path


def _section(promise: Promise, proof: Proof) -> str:
    rows = "".join(
        f'<tr><td class="{_word(finding.holds)}">{"held" if finding.holds else "broken"}</td>'
        f"<td>{escape(finding.promised)}</td><td>{escape(finding.measured)}</td></tr>"
        for finding in proof.findings
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in proof.notes)
    return (
        f'<section><h2 id="{escape(promise.name)}"><span class="{_word(proof.holds)}">'
        f"{'✓' if proof.holds else '✗'}</span> {escape(promise.text)}</h2>{notes}"
        f"<table><tr><th></th><th>promised</th><th>measured</th></tr>{rows}</table></section>"
    )


def _word(holds: bool) -> str:
    """The CSS class."""
    return "good" if holds else "bad"
