"""The training loop: deterministic by its seed, resumable."""

import copy
import math
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.training.anchors import IntArray, make_anchors
from models.training.losses import iou_and_diou, quality_focal_loss
from models.training.network import ARCHITECTURES, Detector
from models.training.pictures import LabelledPicture, TrainingDataError
from models.training.samples import BACKGROUND, Sample, make_sample

BOX_WEIGHT: Final = 2.0
LANDMARK_WEIGHT: Final = 0.1
WEIGHT_DECAY: Final = 0.05
EMA_DECAY: Final = 0.9995
WARM_UP_STEPS: Final = 200
LOWEST_RATE: Final = 0.01  # share of the learning rate that is left at the end
LARGEST_GRADIENT: Final = 10.0
SAMPLE_THREADS: Final = 2
STATE: Final = {"recipe", "landmarks", "step", "detector", "average", "optimizer"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training gives, beside the pictures."""

    arch: str = "scrfd_500m"
    steps: int = 20_000
    batch: int = 16
    size: int = 320  # side of a sample in pixels; a multiple of 32
    rate: float = 2e-3  # highest learning rate
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """One step that is done."""

    step: int
    loss: float
    score_loss: float
    box_loss: float


class Trainer:
    """A detector in training. `average` is what one uses: the mean of the weights of the last steps."""

    def __init__(self, recipe: Recipe, pictures: list[LabelledPicture], *, landmarks: bool) -> None:
        self.recipe, self.landmarks = recipe, landmarks
        self.step = 0
        self._pictures = pictures
        self._anchors = make_anchors(recipe.size)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(recipe.seed)
        self.detector = Detector(ARCHITECTURES[recipe.arch], landmarks=landmarks).to(
            self._device, memory_format=torch.channels_last
        )
        self.average = copy.deepcopy(self.detector).eval()
        self._optimizer = torch.optim.AdamW(_groups(self.detector), lr=recipe.rate)
        self._centres = torch.from_numpy(self._anchors.centres).to(self._device)
        self._strides = torch.from_numpy(self._anchors.strides).to(self._device)

    def run(self, on_step: Callable[[Progress], None]) -> None:
        """Train from the present step to the recipe's last one."""
        self.detector.train()
        for samples in self._batches():
            progress = self._one_step(samples)
            on_step(progress)

    def save(self, file: Path) -> None:
        """Keep all that going on needs."""
        state = {
            "recipe": asdict(self.recipe),
            "landmarks": self.landmarks,
            "step": self.step,
            "detector": self.detector.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        temporary = file.with_name(file.name + ".part")
        torch.save(state, temporary)
        temporary.replace(file)

    def resume(self, file: Path) -> None:
        """Go on where `save` was called.

        Raises:
            TrainingDataError: The file is of another recipe, or none of ours.
        """
        state = self._read(file)
        if state["recipe"] != asdict(self.recipe) or state["landmarks"] != self.landmarks:
            raise TrainingDataError(f"{file} is of another recipe: {state['recipe']}")
        self.detector.load_state_dict(state["detector"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def start_from(self, file: Path) -> None:
        """Take the averaged weights of another training; the recipe may differ, the architecture may not.

        Raises:
            TrainingDataError: The file is of another architecture, or none of ours.
        """
        state = self._read(file)
        if (state["recipe"]["arch"], state["landmarks"]) != (self.recipe.arch, self.landmarks):
            landmarks = "with" if state["landmarks"] else "without"
            raise TrainingDataError(f"{file} is of a {state['recipe']['arch']} {landmarks} landmarks")
        self.detector.load_state_dict(state["average"])
        self.average.load_state_dict(state["average"])

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(file, map_location=self._device, weights_only=True)
            if state.keys() >= STATE:
                return state
        except (OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
            raise TrainingDataError(f"{file} is no checkpoint of a training") from error
        raise TrainingDataError(f"{file} is no checkpoint of a training")

    def _batches(self) -> Iterator[list[Sample]]:
        """The samples of each step, made a little ahead. Each depends on the seed and its number alone."""
        ahead: deque[list[Future[Sample]]] = deque()
        with ThreadPoolExecutor(SAMPLE_THREADS) as pool:
            for step in range(self.step, self.recipe.steps):
                numbers = range(step * self.recipe.batch, (step + 1) * self.recipe.batch)
                ahead.append([pool.submit(self._sample, number) for number in numbers])
                if len(ahead) > 3:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]

    def _sample(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self._pictures))
        order = _order(self.recipe.seed, epoch, len(self._pictures))
        rng = np.random.default_rng((self.recipe.seed, 1, number))
        return make_sample(self._pictures, int(order[place]), self.recipe.size, self._anchors, rng)

    def _one_step(self, samples: list[Sample]) -> Progress:
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate * _rate_share(self.step, self.recipe.steps)
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples])).to(self._device)
        images = (pixels.permute(0, 3, 1, 2).float() - 127.5) / 128  # channels last as they come
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            outputs = self.detector(images)
        kinds = [torch.cat([level.float() for level in kind], dim=1) for kind in outputs]
        score_loss, box_loss, landmark_loss = self._losses(kinds, samples)
        loss = score_loss + BOX_WEIGHT * box_loss + LANDMARK_WEIGHT * landmark_loss
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.detector.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        self.step += 1
        self._update_average()
        return Progress(self.step, float(loss.detach()), float(score_loss.detach()), float(box_loss.detach()))

    def _losses(self, kinds: list[Tensor], samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor]:
        owner = torch.from_numpy(np.stack([sample.owner for sample in samples])).to(self._device)  # (N, A)
        logits = kinds[0][..., 0]
        image, anchor = torch.nonzero(owner >= 0, as_tuple=True)
        faces = torch.from_numpy(np.concatenate([sample.faces for sample in samples])).to(self._device)
        first = np.cumsum([0, *(len(sample.faces) for sample in samples[:-1])])
        index = owner[image, anchor] + torch.from_numpy(first).to(self._device)[image]
        centres, strides = self._centres[anchor], self._strides[anchor, None]
        distances = kinds[1][image, anchor] * strides
        predicted = torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], dim=1)
        iou, diou = iou_and_diou(predicted, faces[index])

        quality = torch.zeros_like(logits)
        quality[image, anchor] = iou.detach()
        counted = (owner >= BACKGROUND).float()
        score_loss = (quality_focal_loss(logits, quality) * counted).sum() / max(len(image), 1)
        weights = logits[image, anchor].detach().sigmoid()
        box_loss = (weights * (1 - diou)).sum() / weights.sum().clamp(min=1e-6)
        landmark_loss = torch.zeros((), device=self._device)
        if self.landmarks:
            landmarks = np.concatenate([sample.landmarks for sample in samples])
            points = torch.from_numpy(landmarks).to(self._device)[index]
            target = ((points - centres[:, None]) / strides[..., None]).flatten(1)
            known = target.isfinite()
            if known.any():
                landmark_loss = nn.functional.smooth_l1_loss(kinds[2][image, anchor][known], target[known])
        return score_loss, box_loss, landmark_loss

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.state_dict().values(), self.detector.state_dict().values(), strict=True)
        for mean, now in pairs:
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> IntArray:
    """In which order an epoch takes the pictures."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def _groups(detector: nn.Module) -> list[dict[str, Any]]:
    """Convolutions decay; normalisation and biases do not."""
    kernels = [p for p in detector.parameters() if p.ndim > 1]
    others = [p for p in detector.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _rate_share(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to LOWEST_RATE."""
    warm_up = min(WARM_UP_STEPS, max(1, steps // 10))
    if step < warm_up:
        return (step + 1) / warm_up
    way = (step - warm_up) / max(1, steps - warm_up)
    return LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * way)) / 2
