"""Which weights to serve: the ones that were named, or the most accurate that can be had."""

import logging
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError, ModelUnavailableError, ReleaseUnreachableError
from models.fetch import Progress, fetch_weights, find_weights, sha256_of
from models.manifest import MODELS, OWN_LICENCE, OWN_MODEL, OWN_WEIGHTS, ModelSpec

logger = logging.getLogger("face_api.models")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where weights may come from."""

    setting: str | None  # a name of the manifest, a path of an .onnx file, or None for the best at hand
    folders: tuple[Path, ...]  # looked through in order
    download_dir: Path
    mirror: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Weights on this machine, checked."""

    name: str
    path: Path
    digest: str  # sha256
    licence: str
    notes: tuple[str, ...] = ()  # what the operator should know, loudly

    @property
    def setting(self) -> str:
        """The value of FACE_API_MODEL that names these weights again."""
        return self.name if self.name in MODELS or self.path == OWN_WEIGHTS else str(self.path)


def resolve_model(source: ModelSource, progress: Progress | None = None) -> ResolvedModel:
    """Find or fetch the weights.

    Raises:
        ModelError: The named model is unknown or cannot be had; or, with none named, no model can be had.
    """
    if source.setting is None:
        return _best(source, progress)
    if source.setting.endswith(".onnx"):
        return _unverified(Path(source.setting))
    if source.setting == OWN_MODEL:
        return _own()
    if source.setting not in MODELS:
        known = ", ".join((*MODELS, OWN_MODEL))
        raise ModelUnavailableError(
            f"FACE_API_MODEL={source.setting} is unknown; choose {known}, or name an .onnx file"
        )
    return _named(MODELS[source.setting], source, progress)


def _named(spec: ModelSpec, source: ModelSource, progress: Progress | None) -> ResolvedModel:
    path = _find(spec, source) or _fetch(spec, source, progress)
    return _resolved(spec, path)


def _resolved(spec: ModelSpec, path: Path, *notes: str) -> ResolvedModel:
    return ResolvedModel(spec.name, path, sha256_of(path), spec.licence, notes)


def _find(spec: ModelSpec, source: ModelSource) -> Path | None:
    return find_weights(spec, (*source.folders, source.download_dir))


def _fetch(spec: ModelSpec, source: ModelSource, progress: Progress | None) -> Path:
    return fetch_weights(spec, source.download_dir, source.mirror, progress)


def _own(*notes: str) -> ResolvedModel:
    """The model that comes with the code."""
    return ResolvedModel(OWN_MODEL, OWN_WEIGHTS, sha256_of(OWN_WEIGHTS), OWN_LICENCE, notes)


def _best(source: ModelSource, progress: Progress | None) -> ResolvedModel:
    """The most accurate model whose weights are at hand or can be fetched, else our own small one."""
    reasons: list[str] = []
    can_fetch = True
    for spec in MODELS.values():
        try:
            path = _find(spec, source)
            if path is None and can_fetch:
                path = _fetch(spec, source, progress)
        except ModelError as error:
            reasons.append(str(error))
            can_fetch = can_fetch and not isinstance(error, ReleaseUnreachableError)
            continue
        if path is None:
            continue
        if not reasons:
            return _resolved(spec, path)
        return _resolved(
            spec,
            path,
            f"serving {spec.name}, not the most accurate model: {reasons[0]}. "
            f"Set FACE_API_MODEL={spec.name} to choose it on purpose.",
        )
    return _own(
        f"serving {OWN_MODEL}, our own small model FOR TRYING OUT: it finds fewer faces than SCRFD, "
        f"above all fewer far ones, and no landmarks. {reasons[0]}. "
        f"Set FACE_API_MODEL={OWN_MODEL} to choose it on purpose."
    )


def _unverified(path: Path) -> ResolvedModel:
    if not path.is_file():
        raise ModelUnavailableError(f"FACE_API_MODEL={path} is not a file")
    note = f"{path.name} is not a published model: its accuracy and its licence are yours to know"
    return ResolvedModel(path.stem, path.resolve(), sha256_of(path), "unknown licence", (note,))
