"""Where and on what a figure was measured."""

import os
import platform
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[1]
GIT = ("git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*")


def machine() -> str:
    """Cores and processor, as /proc/cpuinfo names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}"


def commit() -> str:
    """Short id of the commit in the working tree, marked when files differ from it."""
    try:
        said = subprocess.run(  # noqa: S603 - our own command
            GIT,
            capture_output=True, text=True, check=True, cwd=PROJECT,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
