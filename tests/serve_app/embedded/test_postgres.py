"""Against the real server. A cluster is made once; each test works on its own copy."""

import asyncio
import importlib.util
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import databases
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from serve_app.embedded import binaries
from serve_app.embedded.cluster import Cluster
from serve_app.embedded.errors import EmbeddedError, FolderInUseError
from serve_app.embedded.postgres import EmbeddedPostgres
from serve_app.embedded.postmaster import is_postgres, read_pid_file

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(
        importlib.util.find_spec(binaries.PACKAGE) is None, reason="needs pip install '.[embedded]'"
    ),
]
PROJECT = Path(__file__).parents[3]
BUSY = "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '20 s' LOOP END LOOP; END $$"
LAUNCHER = """
import sys, time
from pathlib import Path
from serve_app.embedded.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
print(postgres.start(), flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Not below pytest's folder: each new session of pytest closes that to others, so to root's server."""
    folder = Path(tempfile.mkdtemp(prefix="face-api-tests-")).resolve()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def blank(place: Path) -> Path:
    """The folder of a cluster after a first start that was cut short, a whole one, and a stop."""
    folder = place / "blank"
    (folder / "new-half" / "base").mkdir(parents=True)
    (folder / "new-half" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder).running():
        pass
    return folder


@pytest.fixture
def folder(blank: Path, place: Path) -> Iterator[Path]:
    folder = copy(blank, place / "postgres")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Not started; stopped whatever the test does."""
    postgres = EmbeddedPostgres(folder)
    yield postgres
    postgres.stop()


@pytest.fixture
def leftover(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running server of the folder whose launcher is gone."""
    cluster = Cluster.at(folder)
    cluster.prepare()
    with cluster.spawn() as process:
        try:
            wait_until(lambda: cluster.serving_url() is not None, 20)
            yield process
        finally:
            process.kill()


def copy(blank: Path, folder: Path) -> Path:
    shutil.copytree(blank / "data", folder / "data")
    return folder


def ask(url: str, *statements: str) -> Any:
    """The first value of the last statement."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


def pid_of(folder: Path) -> int:
    found = read_pid_file(folder / "data")
    assert found is not None
    return found.pid


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def answers(url: str, statement: str = "SELECT true") -> bool:
    try:
        return bool(ask(url, statement))
    except (OSError, asyncpg.PostgresError):
        return False


def test_every_client_we_use_reaches_face_api_by_the_url(server: EmbeddedPostgres) -> None:
    url = server.start()

    async def with_databases() -> Any:
        async with databases.Database(url) as database:
            return await database.fetch_val("SELECT current_database()")

    async def with_sqlalchemy() -> Any:
        engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
        async with engine.connect() as connection:
            name = await connection.scalar(text("SELECT current_database()"))
        await engine.dispose()
        return name

    assert ask(url, "SELECT current_database()") == "face_api"
    assert asyncio.run(with_databases()) == "face_api"
    assert asyncio.run(with_sqlalchemy()) == "face_api"


def test_data_outlives_stop_and_start(server: EmbeddedPostgres) -> None:
    ask(server.start(), "CREATE TABLE kept AS SELECT 7 AS n", "SELECT n FROM kept")
    server.stop()
    server.stop()
    assert ask(server.start(), "SELECT n FROM kept") == 7


def test_a_first_start_that_was_cut_short_leaves_nothing(blank: Path) -> None:
    assert {entry.name for entry in blank.iterdir()} == {"data", "lock", "log", "turn"}


def test_only_its_owner_reaches_it_and_only_by_socket(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    data = folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert data.stat().st_uid == Cluster.at(folder).account.uid
    assert stat.S_IMODE((data / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert ask(url, "SHOW listen_addresses") == ""


def test_a_long_path_moves_the_socket_to_a_private_folder(blank: Path, place: Path) -> None:
    folder = copy(blank, place / ("long" * 25) / "a, b")
    elsewhere = Cluster.at(folder).socket_folder
    with EmbeddedPostgres(folder).running() as url:
        assert ask(url, "SELECT 1") == 1
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert not elsewhere.exists()
    elsewhere.mkdir(mode=0o755)
    with pytest.raises(EmbeddedError, match="is not a private folder"), EmbeddedPostgres(folder).running():
        pass
    elsewhere.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_its_memory_is_not_in_dev_shm(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    maps = Path(f"/proc/{pid_of(folder)}/maps").read_text()
    assert "postgres" in maps
    assert "/dev/shm" not in maps  # noqa: S108 - must be unused


def test_ctrl_c_in_the_terminal_does_not_reach_it(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    assert os.getsid(pid_of(folder)) != os.getsid(0)


def test_a_killed_server_comes_back_with_what_was_committed(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    ask(url, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT n FROM kept")
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("face_api.embedded").addHandler(handler)
    pid = pid_of(folder)
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_postgres(pid, folder / "data") and answers(url), 20)
    finally:
        logging.getLogger("face_api.embedded").removeHandler(handler)
    assert ask(url, "SELECT n FROM kept") == 7
    assert json.loads(lines[0])["event"] == "embedded PostgreSQL died; starting it again"


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_killed_launcher_takes_its_server_along(server: EmbeddedPostgres, folder: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        url = launcher.stdout.readline().strip()
        pid = pid_of(folder)
        ask(url, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT n FROM kept")
        launcher.kill()
    wait_until(lambda: not is_postgres(pid, folder / "data"), 10)
    assert ask(server.start(), "SELECT n FROM kept") == 7


def test_a_server_that_outlived_its_launcher_is_replaced(
    server: EmbeddedPostgres, folder: Path, leftover: subprocess.Popen[bytes]
) -> None:
    url = server.start()
    assert leftover.wait(1) == 0
    assert pid_of(folder) != leftover.pid
    assert ask(url, "SELECT 1") == 1


def test_processes_of_a_killed_server_do_not_hinder_a_start(
    server: EmbeddedPostgres, folder: Path, leftover: subprocess.Popen[bytes]
) -> None:
    url = Cluster.at(folder).serving_url()
    assert url is not None
    busy = threading.Thread(target=answers, args=[url, BUSY])
    busy.start()
    wait_until(lambda: ask(url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'") == 1, 10)
    leftover.kill()
    assert answers(server.start())
    busy.join()


@pytest.mark.parametrize("content", ["{pid}\n{data}\n1700000000\n5432\n{data}\n\n 1 2\nready   \n", ""])
def test_stale_lock_files_do_not_hinder_a_start(server: EmbeddedPostgres, folder: Path, content: str) -> None:
    account, data = Cluster.at(folder).account, folder / "data"
    # PostgreSQL gives way to any process of its own user.
    user = account.uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=user) as unrelated:  # noqa: S607 - any process will do
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data / name).write_text(content.format(pid=unrelated.pid, data=data))
        try:
            assert ask(server.start(), "SELECT 1") == 1
            assert unrelated.poll() is None
        finally:
            unrelated.kill()


def test_a_second_owner_of_the_folder_is_refused(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    with pytest.raises(FolderInUseError) as refusal:
        EmbeddedPostgres(folder).start()
    assert str(folder) in str(refusal.value)
    assert "FACE_API_DATA_DIR" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert answers(url)


def test_a_short_command_joins_the_running_server(server: EmbeddedPostgres, folder: Path) -> None:
    url = server.start()
    with EmbeddedPostgres(folder).running() as joined:
        assert joined == url
    assert answers(url)


def test_short_commands_wait_for_each_other_and_leave_nothing_running(folder: Path) -> None:
    seen: list[Any] = []

    def command() -> None:
        with EmbeddedPostgres(folder).running() as url:
            seen.append(ask(url, "SELECT pg_sleep(0.2)", "SELECT count(*) FROM pg_database"))

    threads = [threading.Thread(target=command) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2
    assert not (folder / "data" / "postmaster.pid").exists()


def test_a_server_that_cannot_start_says_why_in_one_sentence(server: EmbeddedPostgres, folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="database files are incompatible with server") as failure:
        server.start()
    assert str(folder / "log") in str(failure.value)
    assert "\n" not in str(failure.value)
    with pytest.raises(EmbeddedError, match="incompatible"):  # the lock was given back
        server.start()


def test_a_missing_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedError, match=r"pip install '\.\[embedded\]'.* FACE_API_DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"file.* cannot be used .* FACE_API_DATA_DIR"):
        EmbeddedPostgres(tmp_path / "file" / "postgres").start()
