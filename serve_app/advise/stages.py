"""What an answer says of its own way through the service."""

import json
from collections.abc import Mapping

PROFILING = b'"profiling":'


def stages_of(headers: Mapping[str, str], body: bytes) -> dict[str, float]:
    """Stage -> milliseconds, `total` among them, of an answer; empty when it says nothing.

    The batch size, where the answer has it, is there as `batch_size`.
    """
    if timing := headers.get("Server-Timing"):
        return server_timing(timing)
    start = body.rfind(PROFILING)
    if start < 0:
        return {}
    profile, _ = json.JSONDecoder().raw_decode(body[start + len(PROFILING) :].decode())
    found = {
        name.removesuffix("_ms"): float(value)
        for name, value in profile.items()
        if name.endswith("_ms") and value is not None
    }
    return {**found, "batch_size": float(profile["batch_size"])}


def server_timing(header: str) -> dict[str, float]:
    """Stage -> milliseconds of a Server-Timing header."""
    entries = (entry.strip().split(";dur=") for entry in header.split(","))
    return {stage: float(value) for stage, value in entries}
