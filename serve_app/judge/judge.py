"""Masks every face of a set of pictures and asks who can still tell whose it was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from deployments.decoding.letterbox import fit, shrink
from deployments.masking.mask import hide_faces
from deployments.types import MaskParams
from models.boxes import longer_sides, overlaps
from models.recogniser import Recogniser, aligned
from models.scrfd import Scrfd
from models.types import Canvas, Detections, DetectParams, Float32Array, UInt8Array
from serve_app.judge.scene import attacked, scene_of

SIZES: Final = (80, 120, 200)
"""Longer sides of faces, pixels, from which each class of sizes begins."""

AVERAGED: Final = 8
"""So many results of one picture the attacker has."""

SAME_IOU: Final = 0.3
"""A box that overlaps a masked face by so much has found it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One way of masking, one row for each face."""

    params: MaskParams
    sides: Float32Array  # (N,) longer sides, pixels
    known: npt.NDArray[np.bool_]  # (N,) its own original is the nearest of all
    known_restored: npt.NDArray[np.bool_]  # (N,) the same after the attack
    found: npt.NDArray[np.bool_]  # (N,) by the detector
    psnr_masked: Float32Array  # (N,) dB
    psnr_restored: Float32Array  # (N,) dB

    def of_size(self, index: int) -> npt.NDArray[np.bool_]:
        """Which faces are of the index-th class of SIZES."""
        upper = SIZES[index + 1] if index + 1 < len(SIZES) else np.inf
        is_of_size: npt.NDArray[np.bool_] = (self.sides >= SIZES[index]) & (self.sides < upper)
        return is_of_size


class Judge:
    """Collects faces, masked in several ways, then compares each with all."""

    def __init__(self, scrfd: Scrfd, recogniser: Recogniser, ways: Sequence[MaskParams]) -> None:
        self._scrfd = scrfd
        self._recogniser = recogniser
        self._ways = ways
        self._sides: list[float] = []
        self._originals: list[Float32Array] = []
        self._rows: list[list[_Row]] = [[] for _ in ways]

    @property
    def faces(self) -> int:
        """How many were collected."""
        return len(self._originals)

    def add(self, pixels: UInt8Array) -> None:
        """Mask the faces of one picture (H, W, 3) in every way."""
        found = self._scrfd.detect(_canvas(pixels), DetectParams())
        if found.landmarks is None:
            raise ValueError("the detector gives no landmarks")
        sides = longer_sides(found.boxes)
        wanted = np.flatnonzero(sides >= SIZES[0])
        if not len(wanted):
            return
        self._sides += sides[wanted].tolist()
        self._originals += [self._vector(pixels, found.landmarks[face]) for face in wanted]
        for way, rows in zip(self._ways, self._rows, strict=True):
            rows.extend(self._masked(pixels, found, wanted, way))

    def verdicts(self) -> Iterable[Verdict]:
        """What became of the faces, for each way in its order."""
        gallery, own = np.array(self._originals), np.arange(self.faces)
        for way, rows in zip(self._ways, self._rows, strict=True):
            vectors = np.array([row.vector for row in rows])
            restored_vectors = np.array([row.restored_vector for row in rows])
            yield Verdict(
                way,
                np.array(self._sides, np.float32),
                (vectors @ gallery.T).argmax(axis=1) == own,
                (restored_vectors @ gallery.T).argmax(axis=1) == own,
                np.array([row.is_found for row in rows]),
                np.array([row.psnr_masked for row in rows], np.float32),
                np.array([row.psnr_restored for row in rows], np.float32),
            )

    def _masked(
        self, pixels: UInt8Array, found: Detections, wanted: npt.NDArray[np.intp], way: MaskParams
    ) -> Iterable["_Row"]:
        published = pixels.copy()
        hide_faces(published, found.boxes, way)
        again = self._scrfd.detect(_canvas(published), DetectParams())
        for face in wanted:
            scene = scene_of(pixels, found, int(face))
            attack = attacked(scene, way, AVERAGED)
            yield _Row(
                self._vector(published, scene.landmarks + scene.corner),
                self._vector(attack.picture, scene.landmarks),
                bool((overlaps(again.boxes, found.boxes[face : face + 1])[1] >= SAME_IOU).any()),
                attack.psnr_masked,
                attack.psnr_restored,
            )

    def _vector(self, pixels: UInt8Array, landmarks: Float32Array) -> Float32Array:
        return self._recogniser.vector(aligned(pixels, landmarks))


@dataclass(frozen=True, slots=True)
class _Row:
    vector: Float32Array
    restored_vector: Float32Array
    is_found: bool
    psnr_masked: float
    psnr_restored: float


def _canvas(pixels: UInt8Array) -> Canvas:
    height, width = pixels.shape[:2]
    canvas_width, canvas_height, scale = fit(width, height)
    return Canvas(shrink(pixels, canvas_width, canvas_height), width, height, scale)
