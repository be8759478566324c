"""Owning a server in a folder of ours: its lock, its process, its end."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ClassVar, Generic, TypeVar

from serve_app.embedded.folder import lock_folder, start_or_join, translated, turn
from serve_app.embedded.supervisor import Server, Supervisor

S = TypeVar("S", bound=Server)
A = TypeVar("A")


class Owner(ABC, Generic[S, A]):
    """A server in a folder, run as a child of this process.

    It ends with this process, however that ends (on Linux), and is started again when it dies.
    """

    what: ClassVar[str]
    """The server, to whoever finds that its folder is in use."""
    way_out: ClassVar[str]
    """What to do where it cannot run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> A:
        """Start it, after making its data on first use; how to reach it.

        Raises:
            FolderInUseError: Another process runs the server of this folder.
            EmbeddedError: It cannot run; says what to do.
        """
        self._lock = lock_folder(self.folder, self.what, self.way_out)
        try:
            with translated(self.folder, self.way_out):
                server = self._prepare()
            self._supervisor = Supervisor(server)
            self._supervisor.start()
            return self._address(server)
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
    def running(self) -> Iterator[A]:
        """How to reach it for a short command: the server that runs already, else one for as long as this.

        Commands on one folder wait for each other, so that none stops the server another one uses.

        Raises:
            EmbeddedError: It cannot run; says what to do.
        """
        with turn(self.folder, self.way_out):
            address = start_or_join(self.start, self._serving)
            try:
                yield address
            finally:
                self.stop()

    @abstractmethod
    def _prepare(self) -> S:
        """The server with its data, made where it is missing."""

    @abstractmethod
    def _address(self, server: S) -> A:
        """How to reach the server, which is ready."""

    @abstractmethod
    def _serving(self) -> A | None:
        """How to reach the one that another process runs; None while it does not answer."""
