"""One face with as much around it as a recogniser sees, masked as often as the attacker likes."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from deployments.masking.mask import final_strengths, hide_faces, style
from deployments.masking.regions import expand_boxes
from deployments.types import MaskParams
from models.types import Detections, Float32Array, UInt8Array
from serve_app.judge.attack import FloatArray, blurred_throughout, psnr, restored

AROUND: Final = 0.6
"""Share of the box on every side that belongs to the scene: padding, and what an aligned face shows."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a picture; coordinates are its own."""

    pixels: UInt8Array  # (h, w, 3)
    boxes: Float32Array  # (N, 4) of every face in it
    face: int  # which of them it is about
    landmarks: Float32Array  # (5, 2)
    corner: Float32Array  # (2,) of its top left in the picture


@dataclass(frozen=True, slots=True)
class Attack:
    """What was had from a masked scene."""

    picture: UInt8Array  # (h, w, 3), the face restored
    psnr_masked: float  # dB, of the masked region
    psnr_restored: float


def scene_of(pixels: UInt8Array, found: Detections, face: int) -> Scene:
    """Cut out a face; the detections have landmarks."""
    if found.landmarks is None:
        raise ValueError("the detector gives no landmarks")
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = expand_boxes(found.boxes[face : face + 1], AROUND, width, height)[0].tolist()
    corner = np.array([x1, y1], np.float32)
    boxes = found.boxes - np.tile(corner, 2)
    size = np.array([x2 - x1, y2 - y1], np.float32)
    inside = np.flatnonzero(np.logical_and(boxes[:, 2:] > 0, boxes[:, :2] < size).all(axis=1))
    part = np.ascontiguousarray(pixels[y1:y2, x1:x2])
    number = int(np.searchsorted(inside, face))
    return Scene(part, boxes[inside], number, found.landmarks[face] - corner, corner)


def attacked(scene: Scene, way: MaskParams, times: int) -> Attack:
    """Mask a scene several times, average the results, and restore the face by least squares."""
    results = []
    for _ in range(times):
        copy = scene.pixels.copy()
        hide_faces(copy, scene.boxes, way)
        results.append(copy)
    mean: FloatArray = np.mean(results, axis=0)
    shape, fill = style(way)
    height, width = scene.pixels.shape[:2]
    x1, y1, x2, y2 = expand_boxes(scene.boxes, way.padding, width, height)[scene.face].tolist()
    truth = scene.pixels[y1:y2, x1:x2].astype(np.float64)
    strength = int(final_strengths(scene.boxes, way)[0][scene.face])
    hidden = mean[y1:y2, x1:x2]
    if shape == "ellipse" and fill == "blur":
        hidden = blurred_throughout(hidden, strength)
    best = restored(hidden, truth, fill, strength)
    mean[y1:y2, x1:x2] = best
    picture = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    return Attack(picture, psnr(results[0][y1:y2, x1:x2].astype(np.float64), truth), psnr(best, truth))
