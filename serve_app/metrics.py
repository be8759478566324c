"""Metrics of everything around the stages; those of the stages are in `deployments.metrics`."""

from typing import Final

from deployments.metrics import REQUEST_BUCKETS, STAGE_BUCKETS, Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "face_api_requests_total",
    "Answered requests, by path template, status, and why they were refused or failed (empty: not so).",
    ("route", "status", "reason"),
)
REQUEST_SECONDS: Final = Histogram(
    "face_api_request_seconds",
    "From a request's head to the last byte handed to the kernel, by kind of status: 2xx, 4xx, 5xx.",
    ("route", "status_class"),
    buckets=REQUEST_BUCKETS,
)
STAGE_SECONDS: Final = Histogram(
    "face_api_stage_seconds",
    "What each stage took of an answered picture; `..queue`: waiting for a thread; `total`: from the last "
    "body byte to the result.",
    ("stage",),
    buckets=STAGE_BUCKETS,
)
FACES: Final = Counter("face_api_faces_total", "Faces found in answered pictures.")
BATCH_ITEMS: Final = Counter(
    "face_api_batch_items_total", "Pictures of batches, by task and their own status.", ("task", "status")
)
REQUESTS_IN_FLIGHT: Final = Gauge(
    "face_api_requests_in_flight", "Pictures that ingress replicas work on, from their head on."
)
REQUESTS_IN_FLIGHT_LIMIT: Final = Gauge(
    "face_api_requests_in_flight_limit",
    "FACE_API_MAX_IN_FLIGHT of every ingress replica together; more requests get 503.",
)
BUILD: Final = Gauge("face_api_build_info", "1 for each version that runs.", ("version",), merge="max")

DATABASE_UP: Final = Gauge(
    "face_api_database_up", "1 while PostgreSQL answers every replica that was asked.", merge="min"
)
KEY_LOOKUPS: Final = Counter(
    "face_api_key_lookups_total",
    "API keys looked up: cached, grace (cached, database away), database, unknown.",
    ("source",),
)
KEY_CHANGES_HEARD: Final = Gauge(
    "face_api_key_changes_heard",
    "1 while every ingress replica hears of changed API keys at once; 0: within 3 s, by asking.",
    merge="min",
)
KEY_USAGE_LOST: Final = Counter(
    "face_api_key_usage_lost_total", "Counted uses of API keys that could not be written."
)
LIMITER_UP: Final = Gauge(
    "face_api_limiter_up",
    "1 while the shared limiter answers every ingress replica; 0: a replica limits by its own share.",
    merge="min",
)
LIMITER_CALLS: Final = Counter("face_api_limiter_calls_total", "Calls of the shared limiter for leases.")
LIMITER_FALLBACKS: Final = Counter(
    "face_api_limiter_fallbacks_total", "Requests decided by a replica's own share of the limit."
)

STORED: Final = Counter("face_api_stored_total", "Pictures stored whole, with their rows.")
STORAGE_FAILURES: Final = Counter(
    "face_api_storage_failures_total",
    "Pictures that were to be kept and were not; `busy`: FACE_API_STORAGE_MAX_IN_FLIGHT was reached.",
    ("reason",),
)
STORING: Final = Gauge("face_api_storing", "Pictures that are being stored, or taken back.")
STORAGE_UP: Final = Gauge(
    "face_api_storage_up",
    "1 while the bucket answers; asked every 5 s by the MaintenanceWorker.",
    merge="min",
)
CLEANUP_TASKS: Final = Gauge(
    "face_api_cleanup_tasks",
    "Objects that wait to be removed from the bucket, as the MaintenanceWorker last saw.",
    merge="max",
)
CLEANUP_OLDEST: Final = Gauge(
    "face_api_cleanup_oldest_seconds", "Age of the oldest of them; 0 without any.", merge="max"
)
CLEANUP: Final = Counter(
    "face_api_cleanup_total", "Objects removed from the bucket, or tried in vain.", ("outcome",)
)
FORGOTTEN: Final = Counter("face_api_images_forgotten_total", "Images deleted by FACE_API_RETENTION_DAYS.")

EMBEDDED_UP: Final = Gauge(
    "face_api_embedded_up", "1 while the embedded server is ready.", ("server",), merge="min"
)
EMBEDDED_RESTARTS: Final = Counter(
    "face_api_embedded_restarts_total", "Times the embedded server died and was started again.", ("server",)
)

PROCESS_CPU: Final = Counter(
    "face_api_process_cpu_seconds_total",
    "Processor time of each living process of the service on this machine.",
    ("deployment", "pid"),
)
PROCESS_MEMORY: Final = Gauge(
    "face_api_process_memory_bytes",
    "Resident memory of each living process; pages that several share are counted in each.",
    ("deployment", "pid"),
)
