"""What the OpenAPI document cannot say: which bytes are a picture. Loaded by the schemathesis command."""

import io
from uuid import UUID

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.core import NotSet

from serve_app.schemas.choice import parse_indices, parse_regions


def _encoded(image_format: str, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(file, image_format)
    return file.getvalue()


PICTURES = st.sampled_from(
    [_encoded(kind, *size) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF") for size in ((1, 1), (90, 60))]
)
schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.media_type("image/*", PICTURES)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: object) -> None:
    """What the document cannot say: which parameters exclude or need each other, or suit these pictures.

    Only values that are sound by themselves are changed, so what was made wrong on purpose stays wrong.
    """
    query = case.query if case.query is not None else {}
    if query.get("uncertain", "ignore") == "ignore" and "mask_confidence" in query:
        query["uncertain"] = "report"
    least, most = _share(query.get("mask_confidence")), _share(query.get("confidence", 0.5))
    if least is not None and most is not None and least > most:
        query["mask_confidence"] = most
    has_body = not isinstance(case.body, NotSet)
    for name, value in list(query.items()):
        if _does_not_suit(name, value) and (name != "image_id" or has_body):
            del query[name]
    if query.get("answer") == "zip" and query.get("task") == "detect":
        query["task"] = "mask"
    if case.operation.path == "/api/v1/mask" and not has_body:
        query.setdefault("image_id", str(UUID(int=0)))
    # One part of a form, or a list of one: the same on the wire, whatever it holds.
    is_batch = case.operation.path == "/api/v1/batch" and isinstance(case.body, dict)
    if is_batch and not isinstance(case.body.get("image", []), list):
        case.body = {}


def _share(value: object) -> float | None:
    """A confidence, as a number or as it stands in a URL; None for what is none."""
    try:
        share = float(str(value))
    except ValueError:
        return None
    return share if 0.01 <= share <= 1 else None


def _does_not_suit(name: str, value: object) -> bool:
    """Faces by their index, regions, stored pictures and JPEGs' blocks: there are none of these here.

    And a grey picture shows a thousand faces to a confidence of 0.01, however it is masked.
    """
    sound = {"skip": parse_indices, "only": parse_indices, "regions": parse_regions, "image_id": UUID}
    if name in sound:
        try:
            sound[name](str(value))
        except ValueError:
            return False
        return True
    if name == "face_count":
        return str(value).isdigit()
    return (name, str(value).lower()) in {("lossless", "true"), ("fill", "image"), ("verify", "true")}
