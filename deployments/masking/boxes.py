"""Which boxes the Masker gets: of the faces found, and of those that may be none."""

from dataclasses import replace

import numpy as np

from deployments.errors import UncertainFacesError
from deployments.masking.choice import chosen_faces
from deployments.types import EVERY_FACE, FaceChoice, Inferred
from models.errors import InferenceError
from models.types import DetectParams, Float32Array


def boxes_to_hide(inferred: Inferred, params: DetectParams, choice: FaceChoice) -> tuple[Float32Array, int]:
    """Boxes (N, 4) of the chosen faces, then of uncertain ones, and how many sure faces are left as they are.

    Indices of `choice` number sure faces, so uncertain ones are all hidden, unless they are too small.

    Raises:
        UncertainFacesError: There are uncertain faces, and the request rejects such pictures.
        ChoiceError, MaskingError: See `chosen_faces`.
        InferenceError: The Detector did not look for uncertain faces.
    """
    found, uncertain = inferred.detections.boxes, inferred.uncertain
    boxes = chosen_faces(found, choice)
    skipped = len(found) - len(boxes)
    if params.uncertain == "ignore":
        return boxes, skipped
    if uncertain is None:
        raise InferenceError("the detector did not look for uncertain faces")
    count = len(uncertain.boxes)
    if params.uncertain == "reject" and count:
        raise UncertainFacesError(
            f"{count} possible face{'s' if count > 1 else ''} between confidence {params.floor:g} and "
            f"{params.confidence:g}, and uncertain=reject: no picture is sent. uncertain=mask hides them, "
            "too; /api/v1/detect with uncertain=report says where they are"
        )
    if params.uncertain == "mask":
        of_size = chosen_faces(uncertain.boxes, replace(EVERY_FACE, min_face=choice.min_face))
        boxes = np.concatenate([boxes, of_size])
    return boxes, skipped
