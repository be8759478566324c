"""The client's say over /mask: which faces, which regions, and what lies over them."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models.types import UInt8Array
from tests.serve_app.test_app import PICTURE, PNG, png
from tests.tiny_scrfd import red_block_picture

FIRST, SECOND = (64, 96, 96, 128), (256, 288, 288, 320)
"""Where the two faces of PICTURE are: x1, y1, x2, y2."""

SOLID: dict[str, Any] = {"method": "solid", "format": "png", "padding": 0}


async def masked(client: httpx.AsyncClient, **query: Any) -> tuple[httpx.Response, UInt8Array]:
    answer = await client.post("/api/v1/mask", content=PICTURE, headers=PNG, params={**SOLID, **query})
    assert answer.status_code == 200, answer.text
    return answer, np.asarray(Image.open(io.BytesIO(answer.content)))


def is_hidden(pixels: UInt8Array, box: tuple[int, int, int, int]) -> bool:
    x1, y1, x2, y2 = box
    return bool(pixels[y1:y2, x1:x2].max() == 0)


async def test_an_answer_to_a_client_that_asks_for_nothing_new_says_nothing_new(
    client: httpx.AsyncClient,
) -> None:
    answer, pixels = await masked(client)
    assert is_hidden(pixels, FIRST)
    assert is_hidden(pixels, SECOND)
    assert not {"x-faces-skipped", "x-strength-raised"} & set(answer.headers)


@pytest.mark.parametrize(
    ("query", "hidden"),
    [
        ({"skip": "[0]", "face_count": 2}, (False, True)),
        ({"skip": "[]", "face_count": 2}, (True, True)),
        ({"only": "[0]", "face_count": 2}, (True, False)),
        ({"only": "[]", "face_count": 2}, (False, False)),
        ({"min_face": 33}, (False, False)),
        ({"min_face": 32}, (True, True)),
    ],
)
async def test_faces_are_left_by_index_or_size_and_counted(
    client: httpx.AsyncClient, query: dict[str, Any], hidden: tuple[bool, bool]
) -> None:
    answer, pixels = await masked(client, **query)
    assert (is_hidden(pixels, FIRST), is_hidden(pixels, SECOND)) == hidden
    assert answer.headers["x-face-count"] == "2"
    assert answer.headers.get("x-faces-skipped") == (str(2 - sum(hidden)) if not all(hidden) else None)


async def test_regions_are_hidden_beside_the_faces(client: httpx.AsyncClient) -> None:
    picture = red_block_picture(640, 640, {(2, 3): 255})
    picture[400:500, 300:420] = (0, 200, 0)
    query = {**SOLID, "regions": "[[310, 410.5, 20, 30]]"}
    answer = await client.post("/api/v1/mask", content=png(picture), headers=PNG, params=query)
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert is_hidden(pixels, FIRST)
    assert is_hidden(pixels, (310, 411, 330, 440))
    assert (pixels[400:410, 300:420] == (0, 200, 0)).all()
    assert answer.headers["x-face-count"] == "1"


async def test_shape_and_fill_combine_with_every_method(client: httpx.AsyncClient) -> None:
    x1, y1, x2, y2 = FIRST
    for method in ("gaussian", "pixelate", "solid", "elliptical"):
        for fill in ("color:#20ff40", "color:20FF40"):
            _, pixels = await masked(client, method=method, fill=fill, shape="rect")
            assert (pixels[y1:y2, x1:x2] == (0x20, 0xFF, 0x40)).all()
        _, pixels = await masked(client, method=method, fill="solid", shape="ellipse")
        assert pixels[y1, x1].tolist() == [255, 0, 0]
        assert pixels[y1 + 16, x1 : x1 + 32].max() == 0


async def test_a_picture_of_the_clients_lies_over_the_faces(client: httpx.AsyncClient) -> None:
    patch = np.zeros((8, 8, 4), np.uint8)
    patch[:4] = (0, 0, 255, 255)
    files = {"image": ("a.png", PICTURE), "fill_image": ("b.png", png(patch))}
    answer = await client.post("/api/v1/mask", files=files, params={**SOLID, "fill": "image"})
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    x1, y1, x2, y2 = FIRST
    assert (pixels[y1 : y1 + 8, x1:x2] == (0, 0, 255)).all()
    assert pixels[y2 - 8 : y2, x1:x2].min() == 255  # flattened on white


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        (None, 422),
        (b"", 422),
        (b"BM" + bytes(60), 415),
        (PICTURE[:200], 400),
        (b"x" * (256 * 1024 + 1), 413),
        (png(np.zeros((1001, 1000, 3), np.uint8)), 413),
    ],
)
async def test_a_picture_to_lie_over_faces_that_is_none_is_refused(
    client: httpx.AsyncClient, patch: bytes | None, status: int
) -> None:
    files = {"image": ("a.png", PICTURE)} | ({} if patch is None else {"fill_image": ("b.png", patch)})
    answer = await client.post("/api/v1/mask", files=files, params={"fill": "image"})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"skip": "[2]", "face_count": 2}, "face 2"),
        ({"only": "[7]", "face_count": 2}, "face 7"),
        ({"skip": "[0]", "face_count": 3}, "detect again"),
        ({"skip": "[0]"}, "face_count"),
        ({"skip": "[0]", "only": "[1]", "face_count": 2}, "exclude each other"),
        ({"skip": "0"}, "JSON list"),
        ({"skip": "[-1]", "face_count": 2}, "JSON list"),
        ({"skip": "[0.5]", "face_count": 2}, "JSON list"),
        ({"skip": "[true]", "face_count": 2}, "JSON list"),
        ({"only": str(list(range(1001))), "face_count": 2}, "1000"),
        ({"regions": "[[640, 0, 5, 5]]"}, "640x640"),
        ({"regions": "[[0, 0, 5]]"}, "JSON list"),
        ({"regions": "[[-1, 0, 5, 5]]"}, "JSON list"),
        ({"regions": "[[0, 0, 0, 5]]"}, "JSON list"),
        ({"regions": "[[0, 0, NaN, 5]]"}, "JSON list"),
        ({"regions": "[[0, 0, Infinity, 5]]"}, "JSON list"),
        ({"regions": "[[0, 0, 1e999, 5]]"}, "JSON list"),
        ({"regions": '[["0", 0, 5, 5]]'}, "JSON list"),
        ({"regions": "[" * 5000}, "JSON list"),
        ({"regions": str([[0, 0, 1, 1]] * 257)}, "256"),
        ({"regions": str([[0, 0, 640, 640]] * 5)}, "4 times"),
        ({"fill": "color:#12345"}, "fill"),
        ({"fill": "color:"}, "fill"),
        ({"shape": "star"}, "shape"),
        ({"strength_floor": "maybe"}, "strength_floor"),
        ({"min_face": -1}, "min_face"),
    ],
)
async def test_what_cannot_be_meant_is_a_422_that_says_why(
    client: httpx.AsyncClient, query: dict[str, Any], names: str
) -> None:
    answer = await client.post("/api/v1/mask", content=PICTURE, headers=PNG, params=query)
    assert answer.status_code == 422
    assert names in answer.json()["detail"]


async def test_a_strength_under_the_floor_is_raised_and_the_answer_says_so(
    client: httpx.AsyncClient,
) -> None:
    raised, _ = await masked(client, method="pixelate", strength=2)
    assert raised.headers["x-strength-raised"] == "2"
    light, pixels = await masked(client, method="pixelate", strength=1, strength_floor="off")
    assert "x-strength-raised" not in light.headers
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(PICTURE))))
    assert "x-strength-raised" not in (await masked(client, method="gaussian"))[0].headers
    assert "x-strength-raised" not in (await masked(client, method="solid", strength=1))[0].headers
