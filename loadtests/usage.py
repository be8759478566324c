"""Processor time and memory of a service, by deployment."""

import contextlib
import re
import resource
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

from loadtests.apart import processes_of

REPLICA = re.compile(r"ServeReplica:[^:]+:(\w+)")
OTHERS = {"postgres": "PostgreSQL", "rclone": "S3 server"}
RAY = "Ray and launcher"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of one deployment."""

    cpu_s: float  # user and kernel; since the start, or of a run
    memory_bytes: int  # proportional set size: a page shared by n processes counts 1/n in each


def deployment_of(title: str, name: str) -> str:
    """Which part of the service a process belongs to.

    Args:
        title: Its command line; Ray puts the deployment's name there.
        name: Of its program.
    """
    if found := REPLICA.search(title):
        return found[1]
    return next((part for program, part in OTHERS.items() if name.startswith(program)), RAY)


def usage_of(pid: int) -> dict[str, Usage]:
    """By deployment, of `face-api serve` and everything it started."""
    cpu: dict[str, float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for process in processes_of(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            part = deployment_of(" ".join(process.cmdline()), process.name())
            times = process.cpu_times()
            cpu[part] += times.user + times.system
            memory[part] += process.memory_full_info().pss
    return {part: Usage(cpu[part], memory[part]) for part in cpu}


def since(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, Usage]:
    """What a run took, and the memory at its end."""
    return {
        part: Usage(max(0.0, now.cpu_s - (before[part].cpu_s if part in before else 0.0)), now.memory_bytes)
        for part, now in after.items()
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took of the machine."""

    usage: dict[str, Usage] = field(default_factory=dict)  # of the service; empty where it is elsewhere
    generator_cpu_s: float = 0.0
    others_cpu_s: float = 0.0  # of programs that are no part of the test


class Meter:
    """Looks before and after a run."""

    def __init__(self, pid: int | None) -> None:
        """Begin. `pid` is that of `face-api serve`, where it is on this machine."""
        self._pid = pid
        self._usage = usage_of(pid) if pid else {}
        self._own_s, self._busy_s = own_cpu_s(), busy_cpu_s()

    def read(self) -> Cost:
        """Since the beginning."""
        busy_s, own_s = busy_cpu_s() - self._busy_s, own_cpu_s() - self._own_s
        used = since(self._usage, usage_of(self._pid)) if self._pid else {}
        service_s = sum(part.cpu_s for part in used.values())
        return Cost(used, own_s, max(0.0, busy_s - own_s - service_s) if self._pid else 0.0)


def own_cpu_s() -> float:
    """Processor time of this process and of those it has waited for: the load generators."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def busy_cpu_s() -> float:
    """Processor time that any program of this machine has had."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
