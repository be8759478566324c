from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training.pictures import TrainingDataError, load_pictures
from models.training.trainer import Progress, Recipe, Trainer

RECIPE = Recipe(arch="faceapi_small", steps=50, batch=2, size=64, seed=7)


def losses(trainer: Trainer) -> list[float]:
    seen: list[Progress] = []
    trainer.run(seen.append)
    assert [progress.step for progress in seen] == list(
        range(trainer.recipe.steps - len(seen) + 1, trainer.recipe.steps + 1)
    )
    return [progress.loss for progress in seen]


def test_the_same_seed_gives_the_same_50_losses(dataset: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    first, second = (losses(Trainer(RECIPE, pictures, landmarks=False)) for _ in range(2))
    other = losses(Trainer(replace(RECIPE, seed=8), pictures, landmarks=False))
    assert len(first) == 50
    assert first == second
    assert first != other


def test_it_learns_the_pictures(dataset: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    seen = losses(Trainer(replace(RECIPE, steps=120, batch=4), pictures, landmarks=False))
    assert np.mean(seen[-20:]) < 0.95 * np.mean(seen[:20])  # 0.89 with this seed; without learning about 1


def test_a_training_that_was_cut_off_goes_on_as_if_it_had_not_been(dataset: Path, tmp_path: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    recipe = replace(RECIPE, steps=12)
    whole = losses(Trainer(recipe, pictures, landmarks=False))

    cut = Trainer(recipe, pictures, landmarks=False)

    def stop_at_five(progress: Progress) -> None:
        if progress.step == 5:
            cut.save(tmp_path / "a.ckpt")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.run(stop_at_five)
    resumed = Trainer(recipe, pictures, landmarks=False)
    resumed.resume(tmp_path / "a.ckpt")
    assert losses(resumed) == whole[5:]


def test_a_checkpoint_of_another_recipe_is_refused(dataset: Path, tmp_path: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    Trainer(RECIPE, pictures, landmarks=False).save(tmp_path / "a.ckpt")
    with pytest.raises(TrainingDataError, match="another recipe"):
        Trainer(replace(RECIPE, seed=8), pictures, landmarks=False).resume(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(b"nonsense")
    for method in (Trainer.resume, Trainer.start_from):
        for name in ("b.ckpt", "missing.ckpt"):
            with pytest.raises(TrainingDataError, match="no checkpoint"):
                method(Trainer(RECIPE, pictures, landmarks=False), tmp_path / name)


def test_a_training_begins_with_the_weights_of_another(dataset: Path, tmp_path: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    Trainer(RECIPE, pictures, landmarks=False).save(tmp_path / "a.ckpt")
    finer = Trainer(replace(RECIPE, seed=8, size=96), pictures, landmarks=False)
    finer.start_from(tmp_path / "a.ckpt")
    same = Trainer(RECIPE, pictures, landmarks=False).average.state_dict()
    for name, value in finer.detector.state_dict().items():
        assert torch.equal(value, same[name])
    with pytest.raises(TrainingDataError, match="faceapi_small without landmarks"):
        Trainer(replace(RECIPE, arch="scrfd_500m"), pictures, landmarks=False).start_from(tmp_path / "a.ckpt")


def test_landmarks_are_learnt_where_there_are_some(dataset: Path) -> None:
    pictures = load_pictures([dataset]).pictures
    for picture in pictures:
        x1, y1, x2, y2 = picture.faces.T
        points = np.stack([x1, y1, x2, y1, (x1 + x2) / 2, (y1 + y2) / 2, x1, y2, x2, y2], 1).reshape(-1, 5, 2)
        picture.landmarks[:] = points
    with_points = Trainer(replace(RECIPE, steps=3), pictures, landmarks=True)
    before = with_points.detector.heads[0].landmarks.weight.detach().clone()
    assert np.isfinite(losses(with_points)).all()
    assert not torch.equal(before, with_points.detector.heads[0].landmarks.weight)
