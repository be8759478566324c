"""One data folder of PostgreSQL: made on first use, found running, started as a child of this process.

var/postgres/data   the cluster, of the account PostgreSQL runs as, closed to others
var/postgres/log    what PostgreSQL says
var/postgres/lock   held by the process that runs it
"""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

from serve_app.embedded.account import Account, account_of, give, open_tree, open_way
from serve_app.embedded.binaries import find_release, trees_of
from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.postmaster import SOCKET, STOP_STEPS, is_postgres, read_pid_file
from serve_app.embedded.serverlog import ServerLog
from serve_app.embedded.start_child import start_child
from serve_app.embedded.supervisor import StopSteps

USER: Final = "postgres"
DATABASE: Final = "face_api"
MAX_SOCKET_PATH_BYTES: Final = 100  # the kernel takes 107, macOS 103
# Nothing of the caller's: PGPORT, PGOPTIONS, LD_PRELOAD and the like would reach the server.
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is small in containers, and outlives a kill
    "io_method": "sync",  # without three more processes
    "max_wal_size": "256MB",  # bounds the recovery after a kill
    "jit": "off",
    "log_checkpoints": "off",
}
INITDB_OPTIONS: Final = (
    f"--username={USER}",
    "--encoding=UTF8",
    "--locale-provider=builtin",  # the same order of text on every machine, whatever locales it has
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    # Only the owner and root reach the socket, and both may read the data anyway: a password adds nothing.
    "--auth-local=trust",
    "--auth-host=reject",
    "--set=dynamic_shared_memory_type=mmap",
    "--no-instructions",
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data folder and what is needed to run it. Only the holder of its lock changes it."""

    name: ClassVar[str] = "PostgreSQL"
    way_out: ClassVar[str] = "set FACE_API_DATABASE_URL to a server of yours"
    stop_steps: ClassVar[StopSteps] = STOP_STEPS
    most_growth_bytes: ClassVar[int | None] = None

    folder: Path  # absolute
    release: Path
    account: Account

    @classmethod
    def at(cls, folder: Path) -> "Cluster":
        """The cluster of a folder, which may not be there yet.

        Raises:
            EmbeddedError: PostgreSQL is not installed, or the data belongs to somebody else.
        """
        absolute = folder.absolute().resolve()
        return cls(absolute, find_release(), account_of(absolute / "data"))

    @property
    def data(self) -> Path:
        """The folder that PostgreSQL calls its data directory."""
        return self.folder / "data"

    @property
    def log(self) -> ServerLog:
        """The log, from its beginning."""
        return ServerLog(self.folder / "log")

    @property
    def socket_folder(self) -> Path:
        """Where the server listens: in the data, or in the system's temporary folder if that cannot be named.

        A socket's path is short, and a comma separates two of them.
        """
        if len(os.fsencode(self.data / SOCKET)) < MAX_SOCKET_PATH_BYTES and "," not in str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()).resolve() / f"face-api-{digest}"

    def prepare(self) -> None:
        """Make on disk whatever is missing, and let the account reach it.

        Raises:
            EmbeddedError: initdb failed, or the socket's folder is somebody else's.
        """
        if os.geteuid() == 0:
            for tree in trees_of(self.release):
                open_tree(tree)
        if not self.data.exists():
            self._initialise()
        elif self.data.stat().st_uid != self.account.uid:
            give(self.account, self.data)  # root put a copy there
        if self.socket_folder != self.data:
            self._make_socket_folder()

    def clean_up(self) -> None:
        """Remove what `prepare` made outside the folder."""
        if self.socket_folder != self.data:
            with contextlib.suppress(OSError):
                self.socket_folder.rmdir()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server. Linux ends it when the calling thread ends."""
        folder = str(self.socket_folder).replace('"', '""')
        settings = {**SETTINGS, "unix_socket_directories": f'"{folder}"'}
        return self._start("postgres", "-D", str(self.data), *(f"--{k}={v}" for k, v in settings.items()))

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the server that this process is accepts connections."""
        found = read_pid_file(self.data)
        return found is not None and found.is_ready and found.pid == process.pid

    def serving_url(self) -> str | None:
        """URL of the running server, whoever started it; None while it does not answer for DATABASE."""
        found = read_pid_file(self.data)
        if found is None or not is_postgres(found.pid, self.data):
            return None
        return _url(found.socket_folder) if self._has_database(found.socket_folder) else None

    def create_database(self) -> str:
        """URL of DATABASE, which is made unless the running server has it.

        Raises:
            EmbeddedError: The server refused.
        """
        if not self._has_database(self.socket_folder):
            done = self._client(self.socket_folder, "createdb", DATABASE)
            if done.returncode != 0:
                words = " ".join(done.stderr.split())
                raise EmbeddedError(
                    f"the database {DATABASE} cannot be made: {words}; the log is {self.log.path}"
                )
        return _url(self.socket_folder)

    def _initialise(self) -> None:
        """Run initdb beside the data, then move its work in place: no half cluster is ever there."""
        for half in self.folder.glob("new-*"):
            shutil.rmtree(half, ignore_errors=True)  # a killed launcher's initdb may still be cleaning up
        new, log = Path(tempfile.mkdtemp(dir=self.folder, prefix="new-")), self.log
        give(self.account, new)
        log.mark()
        with self._start("initdb", f"--pgdata={new}", *INITDB_OPTIONS) as initdb:
            exit_code = initdb.wait()
        if exit_code != 0:
            raise EmbeddedError(
                f"PostgreSQL cannot make {self.data}: {log.last_words()} (log: {log.path}); "
                "mend that, or set FACE_API_DATABASE_URL to a server of yours"
            )
        new.rename(self.data)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # of the new name; initdb has written out what is below
        finally:
            os.close(descriptor)

    def _make_socket_folder(self) -> None:
        """A private folder with a name anybody can foresee: take it only if nobody else made it."""
        folder = self.socket_folder
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid in {os.geteuid(), self.account.uid}
        if not is_ours or stat.S_IMODE(status.st_mode) != 0o700:
            raise EmbeddedError(f"{folder} is not a private folder of face-api; remove it")
        give(self.account, folder)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL as the account, out of reach of the terminal's Ctrl-C."""
        if os.geteuid() == 0:  # each time: somebody may have closed a folder since
            for folder in (self.release, self.data, self.socket_folder):
                open_way(self.account, folder)
        command = [str(self.release / "bin" / program), *arguments]
        return start_child(command, self.account, signal.SIGINT, self.log, ENVIRONMENT)

    def _has_database(self, socket_folder: Path) -> bool:
        done = self._client(socket_folder, "psql", "-XAtc", "SELECT datname FROM pg_database", USER)
        return DATABASE in done.stdout.split("\n")

    def _client(self, socket_folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client program of PostgreSQL to its end."""
        return subprocess.run(  # noqa: S603 - our own words
            [
                str(self.release / "bin" / program),
                f"--host={socket_folder}",
                f"--username={USER}",
                *arguments,
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=ENVIRONMENT,
        )


def _url(socket_folder: Path) -> str:
    """For asyncpg, SQLAlchemy and databases alike; asyncpg takes PGPORT unless a port is named."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_folder), safe='')}&port=5432"
