"""A zip made entry by entry, for readers that cannot seek: each entry is handed on when it is complete."""

import io
import zipfile
from typing import Final

READABLE: Final = 0o644 << 16  # Unix mode, where zips keep it


class ZipStream:
    """Writes stored entries whose headers say their sizes, which a stream cut off by `zipfile` would not."""

    def __init__(self) -> None:
        self._tail = _Tail()
        self._zip = zipfile.ZipFile(self._tail, "w", zipfile.ZIP_STORED)  # type: ignore[call-overload] # typeshed wants a whole file object

    def add(self, name: str, data: bytes) -> bytes:
        """An entry as the archive's next bytes."""
        info = zipfile.ZipInfo(name)  # dated 1980: the archive says nothing of when
        info.external_attr = READABLE
        self._zip.writestr(info, data)
        return self._tail.take()

    def end(self) -> bytes:
        """The archive's last bytes."""
        self._zip.close()
        return self._tail.take()


class _Tail:
    """A file of which only what was not taken yet can be changed."""

    def __init__(self) -> None:
        self._taken = 0
        self._buffer = io.BytesIO()

    def write(self, data: bytes) -> int:
        return self._buffer.write(data)

    def tell(self) -> int:
        return self._taken + self._buffer.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._taken:
            raise io.UnsupportedOperation("what was sent cannot be changed")
        return self._taken + self._buffer.seek(offset - self._taken)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = self._buffer.getvalue()
        self._taken += len(data)
        self._buffer = io.BytesIO()
        return data
