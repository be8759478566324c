"""What becomes of faces that may be none: those under the confidence, from `mask_confidence` on."""

import numpy as np

from deployments.errors import UncertainFacesError
from deployments.types import Inferred
from models.errors import InferenceError
from models.types import DetectParams, Float32Array


def boxes_to_hide(inferred: Inferred, params: DetectParams) -> Float32Array:
    """The boxes (N, 4) that the Masker gets: of sure faces, and with `uncertain=mask` of all.

    Raises:
        UncertainFacesError: There are uncertain ones, and the request rejects such pictures.
        InferenceError: The Detector did not look for them.
    """
    boxes, uncertain = inferred.detections.boxes, inferred.uncertain
    if params.uncertain == "ignore":
        return boxes
    if uncertain is None:
        raise InferenceError("the detector did not look for uncertain faces")
    count = len(uncertain.boxes)
    if params.uncertain == "reject" and count:
        raise UncertainFacesError(
            f"{count} possible face{'s' if count > 1 else ''} between confidence {params.floor:g} and "
            f"{params.confidence:g}, and uncertain=reject: no picture is sent. uncertain=mask hides them, "
            "too; /api/v1/detect with uncertain=report says where they are"
        )
    return np.concatenate([boxes, uncertain.boxes]) if params.uncertain == "mask" else boxes
