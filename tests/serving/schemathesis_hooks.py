"""What the OpenAPI document cannot say: which bytes are a picture. Loaded by the schemathesis command."""

import io

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image


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
    """What the document cannot say of parameters that belong together: those that need another one get it."""
    query = case.query or {}
    if "mask_confidence" in query and query.get("uncertain", "ignore") == "ignore":
        query["uncertain"] = "report"
