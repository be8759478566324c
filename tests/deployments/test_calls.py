import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from deployments.calls import (
    LOOK_AGAIN_S,
    Callee,
    CalleeLostError,
    Caller,
    calls_folder,
    remove_calls_folder,
)
from deployments.transport import host_id
from models.errors import InferenceError

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")


class Stage:
    """Methods that can be held up."""

    def __init__(self) -> None:
        self.began = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def echo(self, value: object) -> object:
        self.began += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return value

    async def broken(self) -> object:
        raise ValueError("a bug")


@asynccontextmanager
async def replica(session: str, stage: Stage) -> AsyncIterator[Callee]:
    callee = Callee(session, "Echo", {"echo": stage.echo, "broken": stage.broken})
    await callee.start()
    try:
        yield callee
    finally:
        await callee.stop()


async def soon(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_true():
            await asyncio.sleep(0.005)


async def test_every_call_gets_its_own_answer_whatever_its_size(session: str) -> None:
    caller = Caller(session, "Echo")
    assert not await caller.has_callee()
    async with replica(session, Stage()):
        await asyncio.sleep(LOOK_AGAIN_S)
        assert await caller.has_callee()
        values = [os.urandom(size) for size in (0, 1, 3_000_000, 64 * 1024, 100)] * 10
        answers = await asyncio.gather(*(caller.call("echo", value) for value in values))
        assert answers == values
    caller.close()


async def test_calls_go_to_the_replica_with_fewer_calls_waiting(session: str) -> None:
    first, second = Stage(), Stage()
    first.gate.clear()
    second.gate.clear()
    caller = Caller(session, "Echo")
    async with replica(session, first), replica(session, second):
        assert await caller.has_callee()
        calls = [asyncio.create_task(caller.call("echo", i)) for i in range(10)]
        await soon(lambda: first.began + second.began == 10)
        assert first.began == second.began == 5
        first.gate.set()
        second.gate.set()
        assert await asyncio.gather(*calls) == list(range(10))
    caller.close()


async def test_a_caller_that_stops_waiting_stops_the_work(session: str) -> None:
    stage = Stage()
    stage.gate.clear()
    caller = Caller(session, "Echo")
    async with replica(session, stage):
        assert await caller.has_callee()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(caller.call("echo", 1), 0.1)
        await soon(lambda: stage.cancelled == 1)
        lost = asyncio.create_task(caller.call("echo", 2))
        await soon(lambda: stage.began == 2)
        caller.close()  # a process that ended
        with pytest.raises(CalleeLostError):
            await lost
        await soon(lambda: stage.cancelled == 2)


async def test_a_replica_that_stops_answers_what_it_was_asked_and_gets_nothing_more(session: str) -> None:
    old, new = Stage(), Stage()
    old.gate.clear()
    caller = Caller(session, "Echo")
    callee = Callee(session, "Echo", {"echo": old.echo})
    await callee.start()
    assert await caller.has_callee()
    waiting = asyncio.create_task(caller.call("echo", "old"))
    await soon(lambda: old.began == 1)
    async with replica(session, new):
        stopping = asyncio.create_task(callee.stop())
        await asyncio.sleep(LOOK_AGAIN_S)
        assert await caller.has_callee()
        assert await caller.call("echo", "new") == "new"
        assert (old.began, new.began) == (1, 1)
        assert not stopping.done()
        old.gate.set()
        assert await waiting == "old"
        await stopping
    caller.close()


async def test_a_call_that_crosses_the_goodbye_of_its_replica_is_answered(session: str) -> None:
    """The caller has not heard yet; the replica waits for what is on its way."""
    for _ in range(50):
        stage = Stage()
        callee = Callee(session, "Echo", {"echo": stage.echo})
        await callee.start()
        caller = Caller(session, "Echo")
        assert await caller.has_callee()
        stopping = asyncio.create_task(callee.stop())
        calls = [asyncio.create_task(caller.call("echo", i)) for i in range(3)]  # before its goodbye arrives
        assert await asyncio.gather(*calls) == [0, 1, 2]
        await stopping
        caller.close()


async def test_a_caller_that_comes_while_a_replica_stops_looks_for_another(session: str) -> None:
    old = Callee(session, "Echo", {"echo": Stage().echo})
    await old.start()
    caller = Caller(session, "Echo")
    old.is_stopping = True  # it still listens, and its socket can still be found
    assert not await caller.has_callee()
    async with replica(session, Stage()):
        await asyncio.sleep(LOOK_AGAIN_S)
        assert await caller.has_callee()
        assert await caller.call("echo", 1) == 1
    await old.stop()
    caller.close()


async def test_no_call_fails_while_replicas_come_and_go(session: str) -> None:
    caller = Caller(session, "Echo")
    is_over = False
    answered = 0

    async def client() -> None:
        nonlocal answered
        while not is_over:
            assert await caller.has_callee()
            assert await caller.call("echo", answered) is not None
            answered += 1
            await asyncio.sleep(0)

    async with replica(session, Stage()):
        clients = [asyncio.create_task(client()) for _ in range(8)]
        for _ in range(5):
            async with replica(session, Stage()):
                await asyncio.sleep(LOOK_AGAIN_S * 1.2)
        is_over = True
        await asyncio.gather(*clients)
    assert answered > 100
    caller.close()


async def test_a_bug_in_a_method_is_an_error_as_a_value(session: str) -> None:
    caller = Caller(session, "Echo")
    async with replica(session, Stage()):
        assert await caller.has_callee()
        assert isinstance(await caller.call("broken"), InferenceError)
        assert isinstance(await caller.call("unknown"), InferenceError)
        assert await caller.call("echo", 1) == 1
    caller.close()


async def test_a_killed_replica_fails_its_calls_at_once_and_is_forgotten(session: str) -> None:
    code = (
        "import asyncio, sys; from deployments.calls import Callee\n"
        "async def main():\n"
        "    async def forever(): await asyncio.sleep(60)\n"
        "    await Callee(sys.argv[1], 'Echo', {'forever': forever}).start()\n"
        "    print('listens', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code, session], stdout=subprocess.PIPE)  # noqa: ASYNC220 - starts at once
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"listens\n"
    caller = Caller(session, "Echo")
    assert await caller.has_callee()
    call = asyncio.create_task(caller.call("forever"))
    await asyncio.sleep(0.1)
    process.kill()
    process.wait()
    process.stdout.close()
    with pytest.raises(CalleeLostError):
        await call
    await asyncio.sleep(LOOK_AGAIN_S)
    assert not await caller.has_callee()
    assert list(calls_folder(session).iterdir()) == []


async def test_the_folder_of_a_killed_service_goes_at_the_next_start_and_a_living_one_stays(
    session: str,
) -> None:
    dead, living = f"{session}dead", f"{session}living"
    for name in (dead, living):
        calls_folder(name).mkdir(0o700)
        remaining = socket.socket(socket.AF_UNIX)
        remaining.bind(str(calls_folder(name) / "Echo.1"))
        if name == living:
            remaining.listen()
            listening = remaining
        else:
            remaining.close()
    try:
        async with replica(session, Stage()):
            assert not calls_folder(dead).exists()
            assert calls_folder(living).exists()
    finally:
        listening.close()
        remove_calls_folder(living)


async def test_only_this_user_may_call(session: str) -> None:
    async with replica(session, Stage()):
        mode = await asyncio.to_thread(lambda: calls_folder(session).stat().st_mode)
        assert mode & 0o777 == 0o700


async def test_where_a_replica_was_killed_the_next_one_is_waited_for(session: str) -> None:
    caller = Caller(session, "Echo")
    async with replica(session, Stage()) as killed:
        await asyncio.sleep(LOOK_AGAIN_S)
        assert await caller.finds_callee()
        for connection in list(killed.connections):
            assert connection._transport is not None
            connection._transport.abort()
        killed._path.unlink()
        await soon(lambda: not caller.callees)
        finding = asyncio.create_task(caller.finds_callee())
        await asyncio.sleep(2 * LOOK_AGAIN_S)
        assert not finding.done()
        async with replica(session, Stage()):
            assert await finding
            assert await caller.call("echo", 3) == 3
    caller.close()


async def test_where_there_never_was_a_replica_none_is_waited_for(session: str) -> None:
    assert not await Caller(session, "Echo").finds_callee()
