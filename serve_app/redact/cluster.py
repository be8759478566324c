"""A pool of workers over Ray Data: on this machine, or on every machine of a cluster.

Only this module of the package imports ray, whose switches are set before.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import ray
from ray.data import ActorPoolStrategy, DataContext, from_items

from serve_app.redact.errors import RedactionError
from serve_app.redact.records import Entry, Record, entry_from_json, record_from_json, to_json
from serve_app.redact.worker import Plan, Redactor, open_redactor

BLOCK_ROWS: Final = 16
"""Files that go to a worker together: a call of a Ray actor takes about a millisecond."""
CALLS_AT_ONCE: Final = 2
"""Of one worker, so that it does not wait between two blocks."""
GPU_SHARE: Final = 0.25
"""Four processes keep a GPU busy: each decodes and encodes on a core of its own."""
OBJECT_STORE_BYTES: Final = 200 * 2**20
"""Names and records; pictures do not travel."""

Batch = dict[str, npt.NDArray[Any]]


class Cluster:
    """Ray for one redaction. It is started when the first picture is to be done."""

    def __init__(self, plan: Plan, address: str | None, gpus: float | None) -> None:
        """Prepare.

        Args:
            plan: What workers do.
            address: Of a running cluster; None starts a Ray of our own.
            gpus: Share of a GPU for each worker; None: GPU_SHARE where Ray has GPUs the plan may use.
        """
        self._plan = plan
        self._address = address
        self._gpus = gpus
        self._is_started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_started:
            ray.shutdown()

    def records(self, entries: Sequence[Entry], *, one_by_one: bool) -> Iterator[Record]:
        """See Pool."""
        self._start()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call] # ray has no types here
        gpus = self._gpus_of(resources)
        workers = max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))
        rows = 1 if one_by_one else max(1, min(BLOCK_ROWS, len(entries) // (4 * workers)))
        calls = 1 if one_by_one else CALLS_AT_ONCE
        blocks = from_items(
            [{"entry": to_json(entry)} for entry in entries], override_num_blocks=-(-len(entries) // rows)
        )
        done = blocks.map_batches(
            Worker,
            batch_size=None,
            compute=ActorPoolStrategy(
                size=min(workers, -(-len(entries) // rows)),
                max_tasks_in_flight_per_actor=calls,
                max_concurrent_calls_per_actor=calls,
                enable_true_multi_threading=True,
            ),
            fn_constructor_args=(self._plan,),
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=0,  # a picture that ends its process would end every other one
        )
        try:
            for batch in done.iter_batches(batch_size=None, batch_format="numpy"):
                for text in batch["record"]:
                    yield record_from_json(str(text))
        except ray.exceptions.RayError as error:
            raise RedactionError(f"no worker could be started: {_last_line(error)}") from error

    def _gpus_of(self, resources: dict[str, float]) -> float:
        if self._gpus is not None:
            return self._gpus
        may_use = self._plan.scrfd.provider in {"auto", "cuda", "tensorrt"}
        return GPU_SHARE if may_use and resources.get("GPU") else 0.0

    def _start(self) -> None:
        if self._is_started:
            return
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self._address is None:
            ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
        else:
            ray.init(self._address, **quiet)
        self._is_started = True
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # files of a worker that died are missing, and done again


class Worker:
    """A process of the pool: its own event loop, and what it needs to work, for as long as it lives."""

    def __init__(self, plan: Plan) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._opened = AsyncExitStack()  # never closed: the process ends
        self._redactor: Redactor = asyncio.run_coroutine_threadsafe(
            self._opened.enter_async_context(open_redactor(plan)), self._loop
        ).result()

    def __call__(self, batch: Batch) -> Batch:
        """Do some entries."""
        entries = [entry_from_json(str(text)) for text in batch["entry"]]
        work = asyncio.run_coroutine_threadsafe(self._redactor.redact_all(entries), self._loop)
        return {"record": np.array([to_json(record) for record in work.result()], object)}


def _last_line(error: Exception) -> str:
    """What a worker said, without Ray's traceback around it."""
    return str(error).strip().splitlines()[-1]
