"""Becomes a server: gives root up, asks to end with its parent, then executes the command.

Run as a file, `python child.py UID GID SIGNAL PARENT_PID COMMAND...`, so it imports nothing of ours. A
`preexec_fn` would run Python between fork and exec in a process of many threads. Python starts before root
is given up, because its own folder may be closed to the other user.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(uid: int, gid: int, death_signal: int, parent_pid: int, command: list[str]) -> None:
    """Never returns: the process is the command afterwards, or ends.

    Args:
        uid: User to run as, if this is root.
        gid: Group to run as, if this is root.
        death_signal: What the command gets when its parent ends.
        parent_pid: The process that must still be the parent.
        command: Absolute path and arguments.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if os.geteuid() == 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal)  # after the change of user, which clears it
    if os.getppid() != parent_pid:
        sys.exit("ERROR: the process that started this one has ended")
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
