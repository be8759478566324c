import io
import zipfile

from serve_app.batch.zip_stream import ZipStream


def test_the_pieces_together_are_a_zip_whose_headers_say_their_sizes() -> None:
    files = {"a.jpg": b"one" * 1000, "ünï/b.png": b"", "manifest.json": b"{}"}
    stream = ZipStream()
    pieces = [stream.add(name, data) for name, data in files.items()]
    pieces.append(stream.end())
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == files
        assert all(not entry.flag_bits & 0x8 for entry in archive.infolist())  # no size after the data
    assert pieces[0].endswith(files["a.jpg"])  # each piece ends with its entry
