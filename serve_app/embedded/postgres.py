"""The embedded PostgreSQL as the launcher and short commands see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from serve_app.embedded.cluster import Cluster
from serve_app.embedded.folder import lock_folder, start_or_join, translated, turn
from serve_app.embedded.postmaster import end_leftover
from serve_app.embedded.supervisor import Supervisor


class EmbeddedPostgres:
    """A PostgreSQL in a folder of ours, run as a child of this process on a unix socket.

    It ends with this process, however that ends (on Linux), and is started again when it dies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> str:
        """Start it, after making its data on first use; the URL of its database `face_api`.

        Raises:
            FolderInUseError: Another process runs the PostgreSQL of this folder.
            EmbeddedError: It cannot run; says what to do.
        """
        self._lock = lock_folder(self.folder, "the database", Cluster.way_out)
        try:
            with translated(self.folder, Cluster.way_out):
                cluster = Cluster.at(self.folder)
                end_leftover(cluster.data, cluster.socket_folder)
                cluster.prepare()
            self._supervisor = Supervisor(cluster)
            self._supervisor.start()
            return cluster.create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and wait for that. Nothing happens the second time."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """URL of the PostgreSQL of a folder for a short command: the one that runs, else one for as long as this.

    Commands on one folder wait for each other, so that none stops the server another one uses.

    Raises:
        EmbeddedError: It cannot run; says what to do.
    """
    with turn(folder, Cluster.way_out):
        postgres = EmbeddedPostgres(folder)
        url = start_or_join(postgres.start, lambda: Cluster.at(folder).serving_url())
        try:
            yield url
        finally:
            postgres.stop()
