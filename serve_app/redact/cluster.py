"""A pool of workers over Ray Data: on this machine, or on every machine of a cluster.

Only this module of the package imports ray, whose switches are set before.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt
import ray
from ray.data import ActorPoolStrategy, DataContext, from_items

from serve_app.redact.errors import RedactionError
from serve_app.redact.records import Entry, Record, entry_from_json, record_from_json, to_json
from serve_app.redact.worker import Plan, Redactor, failed, open_redactor

BLOCK_ROWS: Final = 16
"""Files that go to a worker together: a call of a Ray actor takes about a millisecond."""
CALLS_AT_ONCE: Final = 2
"""Of one worker, so that it does not wait between two blocks."""
GPU_SHARE: Final = 0.25
"""Four processes keep a GPU busy: each decodes and encodes on a core of its own."""
OBJECT_STORE_BYTES: Final = 200 * 2**20
"""Names and records; pictures do not travel."""

STARTS: Final = 3
"""Ray gives its own processes 30 s to start, which they may not have on a machine that is busy."""

Batch = dict[str, npt.NDArray[Any]]
T = TypeVar("T")


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
        self._attempts: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_started:
            ray.shutdown()

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """See Pool."""
        self._start()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call] # ray has no types here
        gpus = self._gpus_of(resources)
        workers = max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))
        rows = max(1, min(BLOCK_ROWS, len(entries) // (4 * workers)))
        blocks = -(-len(entries) // rows)
        done = from_items(
            [{"entry": to_json(entry)} for entry in entries], override_num_blocks=blocks
        ).map_batches(
            Worker,
            batch_size=None,
            compute=ActorPoolStrategy(
                size=min(workers, blocks),
                max_tasks_in_flight_per_actor=CALLS_AT_ONCE,
                max_concurrent_calls_per_actor=CALLS_AT_ONCE,
                enable_true_multi_threading=True,
            ),
            fn_constructor_args=(self._plan, self._attempts),
            num_cpus=1,
            num_gpus=gpus,
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
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        for attempt in range(STARTS):
            try:
                ray.init(self._address or "local", **({} if self._address else own), **quiet)
                break
            except Exception as error:  # Ray has no error of its own for this
                ray.shutdown()
                if attempt + 1 == STARTS:
                    raise RedactionError(f"Ray cannot be reached or started ({_last_line(error)})") from error
        self._is_started = True
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        self._attempts = Attempts.remote()  # type: ignore[attr-defined] # ray has no types here


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Attempts:
    """Which files are at work. Ray asks again for those of a worker that died: then they are here already."""

    def __init__(self) -> None:
        self._together: set[str] = set()
        self._alone: set[str] = set()

    def begin(self, names: list[str]) -> bool:
        """Files that go to a worker together; whether none of them did before."""
        is_first = self._together.isdisjoint(names)
        self._together.update(names)
        return is_first

    def begin_alone(self, name: str) -> bool:
        """A file that has a worker for itself; whether it had none before."""
        is_first = name not in self._alone
        self._alone.add(name)
        return is_first

    def end_alone(self, name: str) -> None:
        """Its worker lives."""
        self._alone.discard(name)

    def end(self, names: list[str]) -> None:
        """They are done."""
        self._together.difference_update(names)


class Worker:
    """A process of the pool: its own event loop, and what it needs to work, for as long as it lives."""

    def __init__(self, plan: Plan, attempts: Any) -> None:  # noqa: ANN401 - a handle of Attempts
        self._attempts = attempts
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._opened = AsyncExitStack()  # never closed: the process ends
        self._redactor: Redactor = self._wait(self._opened.enter_async_context(open_redactor(plan)))

    def __call__(self, batch: Batch) -> Batch:
        """Do some entries; each alone if a worker died when it had them."""
        entries = [entry_from_json(str(text)) for text in batch["entry"]]
        names = [entry.name for entry in entries]
        if ray.get(self._attempts.begin.remote(names)):
            records = self._wait(self._redactor.redact_all(entries))
        else:
            records = [self._wait(self._alone(entry)) for entry in entries]
        self._attempts.end.remote(names)
        return {"record": np.array([to_json(record) for record in records], object)}

    async def _alone(self, entry: Entry) -> Record:
        async with self._redactor.alone():
            if not await self._attempts.begin_alone.remote(entry.name):
                return failed(entry, "the process that worked on it ended, twice")
            record = await self._redactor.redact(entry)
            await self._attempts.end_alone.remote(entry.name)
            return record

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _last_line(error: Exception) -> str:
    """What a worker said, without Ray's traceback around it."""
    return str(error).strip().splitlines()[-1]
