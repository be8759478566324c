"""Each promise of RELIABILITY.md, shown against a service of its own; a report, and an exit code.

    python -m loadtests.torture                       # what `make torture` runs: some two hours
    python -m loadtests.torture --only own-answers crash-only
    python -m loadtests.torture --only soak --minutes 10

Every promise starts services of its own on free ports, with their own data, PostgreSQL and S3 server, and
leaves nothing behind. FACE_API_* variables of the environment hold for them. Nothing else should be busy.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from loadtests.machine import commit, machine
from loadtests.torture.crash_only import CRASH_ONLY
from loadtests.torture.deadlines import DEADLINES
from loadtests.torture.memory import MEMORY
from loadtests.torture.overload import OVERLOAD
from loadtests.torture.own_answers import OWN_ANSWERS
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.report import write_report
from loadtests.torture.rude import RUDE
from loadtests.torture.soak import SOAK
from models.errors import FaceError

EVERY = (OWN_ANSWERS, CRASH_ONLY, OVERLOAD, MEMORY, DEADLINES, RUDE, SOAK)
PROMISES = {promise.name: promise for promise in EVERY}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    usual = Effort()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PROMISES, default=list(PROMISES), help="these promises")
    parser.add_argument("--requests", type=int, default=usual.requests, help="of own-answers")
    parser.add_argument("--clients", type=int, default=usual.clients, help="of own-answers")
    parser.add_argument("--minutes", type=float, default=usual.soak_s / 60, help="of the soak")
    parser.add_argument("--overload-seconds", type=float, default=usual.overload_s, help="of the overload")
    parser.add_argument("--config", type=Path, help="Ray config of the services; else the default one")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--out", type=Path, default=Path("var/torture"), help="folder of the report")
    return parser.parse_args(arguments)


def prove(promise: Promise, effort: Effort) -> Proof:
    """Show one; what cannot even be tried is not held."""
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        try:
            return promise.prove(Path(folder), effort)
        except FaceError as error:
            return Proof([Finding("it can be tried", str(error), holds=False)])


def main(arguments: list[str] | None = None) -> int:
    """Torture, report, judge."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parse_arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: services are stopped
    effort = Effort(
        options.requests,
        options.clients,
        options.overload_seconds,
        options.minutes * 60,
        options.config,
        options.seed,
    )
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "commit": commit(),
        "command": " ".join(["python -m loadtests.torture", *given]),
    }
    proofs: dict[Promise, Proof] = {}
    for name in options.only:
        promise = PROMISES[name]
        print(f"{name}: {promise.text}", flush=True)
        proof = proofs[promise] = prove(promise, effort)
        for finding in proof.findings:
            print(f"  {'held  ' if finding.holds else 'BROKEN'} {finding.promised}: {finding.measured}")
        for note in proof.notes:
            print(f"         {note}")
        path = write_report(options.out, facts, proofs)
    print(f"report: {path}")
    return 0 if all(proof.holds for proof in proofs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
