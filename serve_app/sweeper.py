"""A process of its own that outlives the launcher for a moment: it ends processes that would stay behind.

    python -I -S sweeper.py PID...

Its standard input is a pipe that the launcher holds and never writes to: it ends with the launcher, however
that ends.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Wait for the end of the input, then kill every process that is named and still there."""
    handles = []
    for pid in sys.argv[1:]:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(int(pid)))  # never another process, should its number be used again
    sys.stdin.buffer.read()
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)


if __name__ == "__main__":
    main()
