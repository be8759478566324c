import httpx
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from serve_app.samples import FOLDER, LANGUAGES, sample_file

PUBLIC_CALLS = {
    "detect": ("/api/v1/detect", "post"),
    "mask": ("/api/v1/mask", "post"),
    "batch": ("/api/v1/batch", "post"),
    "health": ("/health", "get"),
}
LABELS = ["curl", "Python (requests)", "JavaScript (fetch)", "C# (HttpClient)"]


@pytest.mark.parametrize("call", PUBLIC_CALLS)
async def test_the_document_shows_each_public_call_in_four_languages(
    client: httpx.AsyncClient, call: str
) -> None:
    path, method = PUBLIC_CALLS[call]
    operation = (await client.get("/openapi.json")).json()["paths"][path][method]
    files = [sample_file(call, suffix).read_text() for suffix, _, _ in LANGUAGES]
    assert [sample["label"] for sample in operation["x-codeSamples"]] == LABELS
    assert [sample["source"] for sample in operation["x-codeSamples"]] == files
    for label, text in zip(LABELS, files, strict=True):
        assert f"<summary>{label}</summary>" in operation["description"]
        assert text.endswith("\n")
        assert f"\n{text}```\n" in operation["description"]


def test_every_file_is_a_sample_of_a_public_call() -> None:
    shown = {sample_file(call, suffix) for call in PUBLIC_CALLS for suffix, _, _ in LANGUAGES}
    assert shown == {path for path in FOLDER.iterdir() if path.is_file()} - {FOLDER / "__init__.py"}


async def test_the_form_that_csharps_httpclient_writes_is_read(
    client: httpx.AsyncClient, astronaut: NDArray[np.uint8]
) -> None:
    picture = simplejpeg.encode_jpeg(astronaut, quality=80)
    boundary = "2d2c1a9e-5e43-4b1a-8c1e-0d1a4a2f6c55"
    disposition = "form-data; name=image; filename=a.jpg; filename*=utf-8''a.jpg"
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
    answer = await client.post(
        "/api/v1/detect",
        content=head.encode() + picture + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f'multipart/form-data; boundary="{boundary}"'},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["image"]["size_bytes"] == len(picture)
