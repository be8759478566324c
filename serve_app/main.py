"""What a Ray Serve config imports: `import_path: serve_app.main:build`."""

import hashlib
from typing import Any

import ray
from ray.serve import Application, Deployment

from deployments.decoding.deployment import Decoder
from deployments.detection.deployment import Detector
from deployments.masking.deployment import Masker
from serve_app.ingress import Ingress
from serve_app.maintenance.deployment import MaintenanceWorker
from serve_app.ratelimit.deployment import Limiter
from serve_app.settings import SettingsError, load_settings


def build(args: dict[str, Any]) -> Application:
    """The application graph: ingress → decoder, detector, masker, the limiter and maintenance beside them.

    Args:
        args: Settings that take the place of their `FACE_API_*` variable, by lower-case name. A new value of
            `release`, which is no setting, makes Ray Serve start every replica anew.

    Raises:
        SettingsError: A setting is wrong, or API keys are on without a database.
    """
    settings = load_settings(**{name: value for name, value in args.items() if name != "release"})
    session = session_name()
    if settings.api_key_enabled and settings.database is None:
        raise SettingsError(
            "API keys need a database: set FACE_API_DATABASE_URL=postgresql://user:password@host/name, "
            "start with `face-api serve`, or serve everybody with FACE_API_API_KEY_ENABLED=false"
        )
    if settings.storage_enabled and settings.database is None:
        raise SettingsError("FACE_API_STORAGE_ENABLED=true needs a database: set FACE_API_DATABASE_URL")
    stages = (Ingress, Decoder, Detector, Masker, Limiter, MaintenanceWorker)
    place: dict[str, Any] = {"session": session, "metrics_port": settings.metrics_port}
    ingress, decoder, detector, masker, limiter, maintenance = (_deployment(stage) for stage in stages)
    return ingress.bind(
        settings,
        decoder.bind(max_pixels=settings.max_image_pixels, **place),
        detector.bind(settings.scrfd_options(), **place),
        masker.bind(**place),
        limiter.bind(settings.rate_limits, metrics_port=settings.metrics_port),
        maintenance.bind(settings),
        session=session,
    )


def session_name() -> str:
    """Names what belongs together on a host, the same for every release: this Ray's session."""
    return hashlib.sha256(ray.get_runtime_context().get_session_name().encode()).hexdigest()[:8]


def _deployment(decorated: object) -> Deployment:
    """What `@serve.deployment` really returns; its type says it is the class."""
    if not isinstance(decorated, Deployment):
        raise TypeError(f"{decorated!r} is no Ray Serve deployment")
    return decorated
