"""`face-api advise`: what this machine carries within an objective, and the Ray config that does it."""

import mimetypes
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from models.resolve import resolve_model
from serve_app.advise.load import Request, at_rate, run, with_clients
from serve_app.advise.objective import Objective
from serve_app.advise.outcome import Outcome
from serve_app.advise.plan import Plan, Route, climb
from serve_app.advise.search import Found, highest_rate, shares
from serve_app.advise.trial import trial_service
from serve_app.launcher import DEFAULT_CONFIG
from serve_app.rollout import read_config
from serve_app.settings import load_settings

CLIENTS = 16
MOST_S = 15.0
"""Of one run, where the objective's percentile would need more answers than come in this time."""
ALONE = {
    "FACE_API_DATABASE_URL": "off",
    "FACE_API_API_KEY_ENABLED": "false",
    "FACE_API_STORAGE_ENABLED": "false",
}


def advise(
    slo: Annotated[str, typer.Option(help="What must hold, such as p99=150ms.")],
    image: Annotated[Path, typer.Option(help="A picture like yours.", dir_okay=False, exists=True)],
    route: Annotated[
        str, typer.Option(help="detect or mask, with any query: 'mask?method=solid'.")
    ] = "detect",
    config: Annotated[
        Path, typer.Option(help="Ray config to begin with.", dir_okay=False, exists=True)
    ] = DEFAULT_CONFIG,
    out: Annotated[Path, typer.Option(help="Where to write the config.", dir_okay=False)] = Path(
        "advised.yaml"
    ),
    seconds: Annotated[float, typer.Option(help="Of each run, at least.", min=1.0)] = 4.0,
) -> None:
    """Find the highest rate this machine holds within an objective, and the Ray config for it.

    Starts services of its own on a free port, one for each setting it tries: some minutes. Nothing else
    should be busy. Keys, limits and storage are off.
    """
    if route.split("?")[0] not in {"detect", "mask"}:
        raise typer.BadParameter("route is detect or mask, with any query", param_hint="--route")
    search = Search(Objective.parse(slo), image, route, read_config(config), seconds, Console(stderr=True))
    search.run(out)


class Search:
    """Tries one plan after the other."""

    def __init__(
        self,
        objective: Objective,
        image: Path,
        route: str,
        config: dict[str, Any],
        seconds: float,
        console: Console,
    ) -> None:
        self._objective = objective
        self._body = image.read_bytes()
        self._content_type = mimetypes.guess_type(image.name)[0] or "image/jpeg"
        self._image = image
        self._route = route
        self._config = config
        self._seconds = seconds
        self._console = console
        self._found: dict[Plan, Found] = {}

    def run(self, out: Path) -> None:
        """Search, say, write. Exit code 1 when nothing holds."""
        self._model = resolve_model(load_settings().model_source()).setting
        kind: Route = "mask" if self._route.startswith("mask") else "detect"
        best, rate = climb(Plan.of(self._config), kind, max(2, os.cpu_count() or 1), self._measure)
        say = self._console.print
        if not rate:
            say(f"[bold red]no rate holds {self._objective}[/]: a request alone takes longer, or fails")
            raise typer.Exit(1)
        found = self._found[best]
        parts = [f"{name} {share:.0%}" for name, share in shares(found.outcome).items() if share >= 0.005]
        body = yaml.safe_dump(best.apply(self._config), sort_keys=False)
        out.write_text(self._header(best, found, parts) + body)
        say(f"\n[bold green]{rate:.1f} requests a second[/] to /{self._route} with {self._objective}")
        say(f"measured    {_figures(found.outcome)}")
        say(f"with        {best}")
        say(f"bottleneck  {parts[0] if parts else 'not told by the answers'}")
        say(f"            of the time in the service: {', '.join(parts)}", highlight=False, soft_wrap=True)
        say(f"run it      face-api serve --config {out}")

    def _measure(self, plan: Plan, to_beat: float) -> float:
        """The highest rate of a plan."""
        self._console.print(f"{plan}: ", end="", highlight=False)
        with tempfile.TemporaryDirectory(prefix="advise-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            (folder / "config.yaml").write_text(yaml.safe_dump(plan.apply(self._config)))
            with trial_service(
                folder, {**ALONE, "FACE_API_MODEL": self._model}, folder / "config.yaml"
            ) as trial:
                url = f"{trial.url}/api/v1/{self._route}"
                found = self._search(
                    [Request(url, self._body, {"Content-Type": self._content_type})], to_beat
                )
        if found is None:
            self._console.print("no better" if to_beat else "nothing holds")
            return 0.0
        self._found[plan] = found
        self._console.print(f"{found.rate:.1f} a second, {_figures(found.outcome)}", highlight=False)
        return found.rate

    def _search(self, requests: list[Request], to_beat: float) -> Found | None:
        run(with_clients(requests, CLIENTS, 1.0))  # warm-up
        most = run(with_clients(requests, CLIENTS, self._seconds)).rate

        def probe(rate: float) -> Outcome:
            seconds = min(MOST_S, max(self._seconds, self._objective.least_answers / rate))
            return run(at_rate(requests, rate, seconds))

        return highest_rate(probe, most, self._objective, to_beat) if most else None

    def _header(self, plan: Plan, found: Found, parts: list[str]) -> str:
        lines = [
            f"Found by `face-api advise`, {time.strftime('%Y-%m-%d')}; {os.cpu_count()} cores, {self._model}",
            f"{found.rate:.1f} requests a second to /{self._route}, {self._image.name}, {self._objective}.",
            f"{plan}. Time in the service: {', '.join(parts)}.",
            "Run it: face-api serve --config THIS FILE",
        ]
        return "".join(f"# {line}\n" for line in lines) + "\n"


def _figures(outcome: Outcome) -> str:
    p50, p99 = outcome.percentile(50), outcome.percentile(99)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {outcome.answers} answers"
