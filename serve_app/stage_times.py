"""What each stage took of one picture, under the names that headers, logs and metrics share."""

from deployments.types import Analysed, Anonymised
from serve_app.services.recording import Recorded


def stage_times(result: Analysed | Anonymised, recorded: Recorded, total_ms: float) -> dict[str, float]:
    """Milliseconds by stage, in the order of the stages; those that did not happen are missing."""
    analysed = result.analysed if isinstance(result, Anonymised) else result
    inferred = analysed.inferred
    times = {
        "decode_queue": analysed.decode_queue_ms,
        "decode": analysed.decode_ms,
        "preprocess": analysed.preprocess_ms,
        "queue": inferred.queue_ms,
        "blob": inferred.blob_ms,
        "inference": inferred.inference_ms,
        "postprocess": inferred.detections.postprocess_ms,
        "nms": inferred.detections.nms_ms,
    }
    if isinstance(result, Anonymised):
        times |= {
            "mask_queue": result.mask_queue_ms,
            "mask": result.masked.mask_ms,
            "encode": result.masked.encode_ms,
        }
        if result.verify_ms is not None:
            times["verify"] = result.verify_ms
    if recorded.storage_ms is not None:
        times["storage"] = recorded.storage_ms
    return {**times, "total": total_ms}
