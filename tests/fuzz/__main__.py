"""Fuzzes what strangers' bytes meet, guided by coverage of Python; native codecs are along for the ride.

    python -m tests.fuzz                            # every target in turn, ten minutes each
    python -m tests.fuzz picture --seconds 3600     # one of them
    python -m tests.fuzz http --input var/fuzz/http/finding-...    # a finding again

What is learnt is kept in var/fuzz and built upon the next time. A crash, ten seconds, three quarters of a
gigabyte or an error that is no client's fault end a target; the input lies there as `finding-*`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import atheris

os.environ["G_DEBUG"] = "fatal-criticals"  # what GLib prints of a picture is a finding as well

with atheris.instrument_imports(include=["deployments", "serve_app", "multipart", "uvicorn.protocols"]):
    from tests.fuzz import pictures, texts

from tests.fuzz import seeds
from tests.fuzz.checksums import mutate

SECONDS = 600
TARGETS = {
    "header": (pictures.header, seeds.pictures),
    "picture": (pictures.picture, seeds.pictures),
    "reduced": (pictures.reduced, seeds.pictures),
    "lossless": (pictures.lossless, seeds.jpegs),
    "upload": (texts.upload, seeds.uploads),
    "names": (texts.names, seeds.texts),
    "http": (texts.http, seeds.connections),
}
PICTURES = (pictures.header, pictures.picture, pictures.reduced)
LIMITS = ("-timeout=10", "-rss_limit_mb=768", "-max_len=65536")


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process; never returns."""
    target, first = TARGETS[name]
    learnt, begin = folder / name / "corpus", folder / name / "seeds"
    learnt.mkdir(parents=True, exist_ok=True)
    seeds.write(first(), begin)
    options = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={folder / name}/finding-"]
    mutator = {"custom_mutator": mutate} if target in PICTURES else {}
    atheris.Setup([sys.argv[0], *options, str(learnt), str(begin)], target, **mutator)
    atheris.Fuzz()


def main() -> None:
    """Each target in a process of its own: libFuzzer ends its process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--folder", type=Path, default=Path("var/fuzz"), help="what is learnt and found")
    parser.add_argument("--input", type=Path, help="give the target this file, once")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = options.targets or list(TARGETS)
    if options.input:
        TARGETS[names[0]][0](options.input.read_bytes())
    elif len(names) == 1:
        fuzz(names[0], options.seconds, options.folder.resolve())
    else:
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(options.seconds)]
        command += ["--folder", str(options.folder)]
        failed = [name for name in names if subprocess.run([*command, name], check=False).returncode]
        sys.exit(f"findings in: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
