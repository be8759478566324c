"""Every scenario against the service; a report in HTML, plots, and an exit code for budgets.

    python -m loadtests                              # what `make load` runs: a service of its own
    python -m loadtests --images photos/ --budgets mine.yaml --against old/record.json
    python -m loadtests --url http://face-api.internal --scenarios detect 'mask, stored'
    python -m loadtests --render load/record.json    # the report again, without measuring

A service of its own runs on a free port with embedded PostgreSQL and S3 server, as `make serve` does,
without rate limits; FACE_API_* variables of the environment hold for it. With --url, FACE_API_KEY,
FACE_API_ADMIN_USER and FACE_API_ADMIN_PASSWORD say who asks, and processor time and memory are not known.

Each scenario is warmed up, then driven in a closed loop by wrk (in C: a Python client would be the
bottleneck), then at 0.6 of that rate in an open loop by aiohttp, which reads the stage times from the
answers. The two plain scenarios are then driven at rising rates, and with requests that arrive at random.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from loadtests.budgets import check, read_budgets
from loadtests.machine import commit, machine
from loadtests.measure import Effort, Measurement, Target
from loadtests.pictures import read_folder
from loadtests.record import Record
from loadtests.report import write_report
from loadtests.scenarios import Scenario, chosen, of_own_pictures, scenarios
from models.errors import FaceError
from models.resolve import resolve_model
from serve_app.advise.trial import trial_service
from serve_app.embedded.credentials import read_credentials
from serve_app.settings import load_settings

WRK = "wrk (C, one thread)"
NO_WRK = "aiohttp on uvloop, since wrk is not installed: it takes more of the cores than wrk would"
BUDGETS = Path(__file__).with_name("budgets.yaml")


@contextmanager
def service(options: argparse.Namespace) -> Iterator[Target]:
    """The one that was named, or one of our own."""
    if options.url:
        admin = os.environ.get("FACE_API_ADMIN_USER", "admin"), os.environ.get("FACE_API_ADMIN_PASSWORD")
        yield Target(
            options.url.rstrip("/"),
            os.environ.get("FACE_API_KEY", ""),
            None if admin[1] is None else (admin[0], admin[1]),
        )
        return
    with tempfile.TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True) as folder:
        model = resolve_model(load_settings().model_source())
        print(f"starting a service with {model.name}; this takes half a minute", file=sys.stderr)
        variables = {"FACE_API_MODEL": model.setting, "FACE_API_STORAGE_ENABLED": "true"}
        with trial_service(Path(folder), variables, options.config) as trial:
            known = read_credentials(trial.data_dir / "credentials.json")
            if known is None:
                raise SystemExit(
                    "unset FACE_API_DATABASE_URL: the service under test needs a database of its own"
                )
            yield Target(trial.url, known.api_key, (known.admin_user, known.admin_password), trial.pid)


def facts(target: Target, options: argparse.Namespace, began_s: float) -> dict[str, str]:
    """What a reader has to know to believe the figures."""
    health = httpx.get(f"{target.url}/health", timeout=30).json()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began_s)),
        "machine": machine(),
        "commit": commit(),
        "command": "python -m loadtests " + " ".join(options.arguments),
        "model": f"{health['model']}, {health.get('provider', 'provider unknown')}",
        "service": options.url
        or f"its own, {options.config or 'configs/local.yaml'}, load generators on the same cores",
        "closed loops": WRK if shutil.which("wrk") else NO_WRK,
        "open loops": "aiohttp on uvloop (Python, one process)",
        "busy before the start": f"load average {os.getloadavg()[0]:.1f} before the start",
    }


def measure(options: argparse.Namespace, wanted: Sequence[Scenario]) -> Record:
    """Drive them all."""
    began_s = time.time()
    own = read_folder(options.images) if options.images else None
    effort = Effort(options.clients, options.seconds, options.seconds + 2.0)
    with service(options) as target:
        known = facts(target, options, began_s)
        measurement = Measurement(target, effort)
        try:
            for scenario in wanted:
                pictures = own or scenario.generated(options.seed)
                measurement.scenario(scenario, pictures, with_curve=scenario.group == "plain")
        except KeyboardInterrupt:
            known["stopped"] = "before its end: what was measured until then"
    known["pictures"] = (
        f"{len(own)} of {options.images.name}/"
        if own
        else f"made from seed {options.seed}; 2 MP with 1 face unless named"
    )
    known["took"] = f"{(time.time() - began_s) / 60:.1f} minutes"
    return Record(known, measurement.runs, measurement.curves, measurement.at_random)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the scenarios' names")
    parser.add_argument(
        "--scenarios", nargs="+", default=[], help="only these; a name, or a pattern such as 'mask*'"
    )
    parser.add_argument("--images", type=Path, help="a folder of your own pictures, in place of made ones")
    parser.add_argument("--seed", type=int, default=0, help="of the made pictures")
    parser.add_argument("--url", help="a service that runs already, with storage and without rate limits")
    parser.add_argument("--config", type=Path, help="Ray config of the service of its own")
    parser.add_argument("--clients", type=int, default=8, help="of closed loops")
    parser.add_argument("--seconds", type=int, default=3, help="of one closed loop; open ones are longer")
    parser.add_argument("--budgets", type=Path, default=BUDGETS, help="limits; breaking one is exit code 1")
    parser.add_argument("--against", type=Path, help="record.json of another load test, to be set beside")
    parser.add_argument("--out", type=Path, default=Path("var/load"), help="folder of the report")
    parser.add_argument("--render", type=Path, help="a record.json to report again, without measuring")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, report, judge."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    if options.list:
        print("\n".join(scenario.name for scenario in scenarios()))
        return 0
    budgets = read_budgets(options.budgets)
    older = Record.read(options.against) if options.against else None
    if options.render:
        record = Record.read(options.render)
    else:
        wanted = chosen(options.scenarios)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the rest is left out
        try:
            record = measure(options, of_own_pictures(wanted) if options.images else wanted)
        except FaceError as error:
            raise SystemExit(str(error)) from error
    options.out.mkdir(parents=True, exist_ok=True)
    record.write(options.out / "record.json")
    if options.scenarios:  # a part was run: limits of the rest say nothing
        budgets = {
            name: limits for name, limits in budgets.items() if name == "any" or name in record.scenarios
        }
    verdicts = check(record, budgets)
    print(f"report: {write_report(options.out, record, older, verdicts)}")
    broken = [verdict for verdict in verdicts if not verdict.is_kept]
    for verdict in broken:
        print(f"budget broken: {verdict}")
    print(f"{len(verdicts) - len(broken)} of {len(verdicts)} budgets kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
