"""Give a running service one processor and its embedded PostgreSQL and S3 server another.

    python -m loadtests.apart --pid PID_OF_FACE_API_SERVE

In production the two servers are other machines. On one machine they take the processors of the stages, and
what storing costs the service cannot be told from what it costs them. Run the load generator on the second
processor as well: `taskset -c 1 python -m loadtests.throughput ...`. Restart the service to end it.
"""

import argparse
import contextlib

import psutil

STORES = ("postgres", "rclone")


def processes_of(pid: int) -> list[psutil.Process]:
    """A launcher and everything it started."""
    launcher = psutil.Process(pid)
    return [launcher, *launcher.children(recursive=True)]


def is_store(process: psutil.Process) -> bool:
    """Whether it is a process of the embedded PostgreSQL or S3 server."""
    return process.name().startswith(STORES)


def set_apart(pid: int, stages_cpu: int, stores_cpu: int) -> tuple[int, int]:
    """Pin every thread of a service.

    Args:
        pid: Of `face-api serve`.
        stages_cpu: For Ray and the stages.
        stores_cpu: For PostgreSQL and the S3 server.

    Returns:
        How many processes went to either.
    """
    counts = [0, 0]
    for process in processes_of(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            store = is_store(process)
            for thread in process.threads():
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(thread.id).cpu_affinity([stores_cpu if store else stages_cpu])
            counts[store] += 1
    return counts[0], counts[1]


def main() -> None:
    """Pin, and say what was pinned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pid", type=int, required=True, help="of `face-api serve`")
    parser.add_argument("--stages-cpu", type=int, default=0)
    parser.add_argument("--stores-cpu", type=int, default=1)
    arguments = parser.parse_args()
    try:
        stages, stores = set_apart(arguments.pid, arguments.stages_cpu, arguments.stores_cpu)
    except psutil.NoSuchProcess:
        raise SystemExit(f"there is no process {arguments.pid}: is `face-api serve` running?") from None
    print(f"{stages} processes on CPU {arguments.stages_cpu}, {stores} on CPU {arguments.stores_cpu}")


if __name__ == "__main__":
    main()
