"""What a Ray Serve config imports: `import_path: serve_app.main:build`."""

import uuid
from typing import Any

from ray.serve import Application, Deployment

from deployments.decoding.deployment import Decoder
from deployments.detection.deployment import Detector
from deployments.masking.deployment import Masker
from serve_app.ingress import Ingress
from serve_app.settings import load_settings


def build(args: dict[str, Any]) -> Application:
    """The application graph: ingress → decoder, detector, masker.

    Args:
        args: Settings that take the place of their `FACE_API_*` variable, by lower-case name.
    """
    session = str(args.pop("session", "")) or uuid.uuid4().hex[:8]
    settings = load_settings(**args)
    parcels: dict[str, Any] = {"session": session, "max_age_s": max(120.0, 4 * settings.request_timeout_s)}
    ingress, decoder, detector, masker = (_deployment(c) for c in (Ingress, Decoder, Detector, Masker))
    return ingress.bind(
        settings,
        decoder.bind(max_pixels=settings.max_image_pixels, **parcels),
        detector.bind(settings.scrfd_options()),
        masker.bind(**parcels),
        **parcels,
    )


def _deployment(decorated: object) -> Deployment:
    """What `@serve.deployment` really returns; its type says it is the class."""
    if not isinstance(decorated, Deployment):
        raise TypeError(f"{decorated!r} is no Ray Serve deployment")
    return decorated
