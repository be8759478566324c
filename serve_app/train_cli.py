"""`face-api models train`: a detector from anybody's labelled pictures."""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.errors import FaceError
from models.scrfd import Scrfd
from serve_app.evaluate import evaluate_detector
from serve_app.settings import load_settings

if TYPE_CHECKING:
    from models.training.history import History
    from models.training.pictures import Pictures
    from models.training.trainer import Trainer

ROW_STEPS = 50
SAVE_STEPS = 250


class TrainingError(FaceError):
    """A training cannot start; the message says what to change."""


def train(
    data: Annotated[list[Path], typer.Option(help="Folder with labels.json; may be given again.")],
    out: Annotated[Path, typer.Option(help="The .onnx file to write; .ckpt, .csv and .png go beside it.")],
    arch: Annotated[str, typer.Option(help="faceapi_small or scrfd_500m.")] = "scrfd_500m",
    steps: Annotated[int, typer.Option(min=1)] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="Samples a step.")] = 16,
    size: Annotated[int, typer.Option(min=64, help="Side of a sample in pixels, a multiple of 32.")] = 320,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same losses.")] = 1,
    start_from: Annotated[
        Path | None, typer.Option(help="A .ckpt of an earlier training: begin with its weights.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where OUT's .ckpt was written.")] = False,
    validate: Annotated[
        Path | None, typer.Option(help="A set as for `models evaluate`, for the AP curve.", exists=True)
    ] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between its evaluations.")] = 2_000,
) -> None:
    """Train a detector on labelled pictures. Needs the extra `train`; hours on CPUs, less on a GPU."""
    if find_spec("torch") is None or find_spec("matplotlib") is None:
        raise TrainingError("training needs PyTorch and matplotlib: pip install 'face-api[train]'")
    from models.training.export import export  # noqa: PLC0415 - of the extra `train`
    from models.training.history import History  # noqa: PLC0415 - as above
    from models.training.network import ARCHITECTURES  # noqa: PLC0415 - as above
    from models.training.pictures import load_pictures  # noqa: PLC0415 - as above
    from models.training.trainer import Recipe, Trainer  # noqa: PLC0415 - as above

    if arch not in ARCHITECTURES:
        raise TrainingError(f"--arch {arch} is unknown; choose {', '.join(ARCHITECTURES)}")
    if size % 32:
        raise TrainingError(f"--size {size} is no multiple of 32")
    if out.suffix != ".onnx":
        raise TrainingError(f"--out {out} must end in .onnx")
    checkpoint = out.with_suffix(".ckpt")
    if checkpoint.exists() and not resume:
        raise TrainingError(f"{checkpoint} is of an earlier training: add --resume to go on, or remove it")

    console = Console(stderr=True)
    pictures = load_pictures(data)
    _report(pictures, console)
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(arch=arch, steps=steps, batch=batch, size=size, rate=rate, seed=seed)
    trainer = Trainer(recipe, pictures.pictures, landmarks=pictures.have_landmarks)
    if resume:
        trainer.resume(checkpoint)
    elif start_from is not None:
        trainer.start_from(start_from)
    history = History(out.with_suffix(".csv"))
    history.load(trainer.step)
    description = f"{arch}, {len(pictures.pictures)} pictures, {pictures.face_count} faces, seed {seed}"
    _run(trainer, history, checkpoint, console, (validate, validate_every, description))
    export(trainer.average, out, description)
    history.plot(out.with_suffix(".png"), f"{out.stem}: {description}")
    typer.echo(out)


def _run(
    trainer: "Trainer",
    history: "History",
    checkpoint: Path,
    console: Console,
    validation: tuple[Path | None, int, str],
) -> None:
    from models.training.history import Row  # noqa: PLC0415 - of the extra `train`
    from models.training.trainer import Progress as Step  # noqa: PLC0415 - as above

    dataset, every, description = validation
    last = trainer.recipe.steps
    recent: list[Step] = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=last, completed=trainer.step)

        def on_step(step: Step) -> None:
            recent.append(step)
            bar.update(task, completed=step.step, description=f"loss {step.loss:.3f}")
            if step.step % ROW_STEPS == 0 or step.step == last:
                ap = {}
                if dataset is not None and (step.step % every == 0 or step.step == last):
                    ap = _accuracy(trainer, dataset, description)
                losses = [(s.loss, s.score_loss, s.box_loss) for s in recent]
                mean = [sum(column) / len(recent) for column in zip(*losses, strict=True)]
                history.add(Row(step.step, (mean[0], mean[1], mean[2]), ap))
                recent.clear()
            if step.step % SAVE_STEPS == 0 or step.step == last:
                trainer.save(checkpoint)

        trainer.run(on_step)


def _accuracy(trainer: "Trainer", dataset: Path, description: str) -> dict[str, float]:
    """AP of the weights as they are now, measured as `models evaluate` does."""
    from models.training.export import export  # noqa: PLC0415 - of the extra `train`

    with tempfile.TemporaryDirectory(prefix="face-api-train-") as folder:
        file = Path(folder) / "now.onnx"
        export(trainer.average, file, description)
        settings = load_settings(model=str(file), data_dir=folder, provider="cpu")
        return evaluate_detector(Scrfd.load(settings.scrfd_options()), dataset, settings.max_image_pixels).ap


def _report(pictures: "Pictures", console: Console) -> None:
    kinds = "with landmarks" if pictures.have_landmarks else "no landmarks"
    console.print(f"{len(pictures.pictures)} pictures, {pictures.face_count} faces, {kinds}", highlight=False)
    for problem, count in pictures.problems.most_common():
        console.print(
            f"[yellow]left out[/] {problem}: {count}, such as {pictures.examples[problem]}", highlight=False
        )
