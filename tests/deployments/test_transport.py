import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from deployments import transport
from deployments.transport import (
    ALIGNMENT,
    INLINE,
    INLINE_BYTES,
    Locker,
    Lockers,
    OtherHostError,
    Parcel,
    RequestEndedError,
    host_id,
    receive,
    send,
)
from models.types import UInt8Array

pytestmark = pytest.mark.skipif(not host_id(), reason="no memfd on this platform")


@pytest.fixture
async def lockers() -> AsyncIterator[Lockers]:
    pool = Lockers()
    yield pool
    pool.close()


def picture(side: int = 200) -> UInt8Array:
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)


def size(locker: Locker) -> int:
    return os.fstat(locker.fd).st_size


async def test_parcels_lie_behind_one_another_and_come_back_as_they_were(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        arrays = [picture(side) for side in (200, 151, 300)]
        parcels: list[Parcel] = []
        for array in arrays:
            parcels.append(send(array, locker, parcels[-1] if parcels else None))
        assert all(parcel.inline is None and parcel.start % ALIGNMENT == 0 for parcel in parcels)
        for array, parcel in zip(arrays, parcels, strict=True):
            assert np.array_equal(receive(parcel), array)


async def test_a_received_array_is_the_callers_own(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        parcel = send(picture(), locker)
        received = receive(parcel)
        received[:] = 7
        assert np.array_equal(receive(parcel), picture())


async def test_another_process_reaches_a_locker(lockers: Lockers) -> None:
    code = (
        "import sys; from deployments.transport import *\n"
        "pid, fd, inode, end = map(int, sys.argv[1:])\n"
        "locker = Locker(host_id(), pid, fd, inode)\n"
        "got = receive(Parcel((200, 200, 3), None, locker, 0, end))\n"
        "print(send(255 - got, locker, Parcel((), None, locker, 0, end)).start)"
    )
    with lockers.lend() as locker:
        parcel = send(picture(), locker)
        given = map(str, (locker.pid, locker.fd, locker.inode, parcel.end))
        done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, check=True)  # noqa: ASYNC221 - nothing else waits
        start = int(done.stdout)
        answer = Parcel((200, 200, 3), None, locker, start, start + parcel.end)
        assert np.array_equal(receive(answer), 255 - picture())


async def test_small_arrays_and_those_without_a_locker_travel_inline(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        small = np.zeros(INLINE_BYTES, np.uint8)
        for parcel in (send(small, locker), send(picture(), INLINE)):
            assert parcel.inline is not None
            assert parcel.locker == INLINE
        assert size(locker) == 0
        assert np.array_equal(receive(send(picture(), INLINE)), picture())


async def test_behind_an_inline_parcel_begins_where_that_would_have(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        first = send(picture(), locker)
        second = send(picture(3), locker, first)
        third = send(picture(), locker, second)
        assert second.inline is not None
        assert third.start >= first.end
        assert np.array_equal(receive(first), picture())


async def test_a_stage_on_another_host_answers_inline_and_cannot_read(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        parcel = send(picture(), locker)
        elsewhere = replace(locker, host="elsewhere")
        assert send(picture(), elsewhere).inline is not None
        with pytest.raises(OtherHostError):
            receive(replace(parcel, locker=elsewhere))


async def test_a_locker_whose_request_went_well_is_lent_again_with_its_memory(lockers: Lockers) -> None:
    with lockers.lend() as first:
        send(picture(), first)
    with lockers.lend() as second:
        assert second == first
        assert size(second) == picture().nbytes
        with lockers.lend() as third:
            assert third != second


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
async def test_a_locker_is_given_up_after_anything_else(lockers: Lockers, error: type[BaseException]) -> None:
    """A stage may still be writing to it."""
    with pytest.raises(error), lockers.lend() as first:
        parcel = send(picture(), first)
        raise error
    with pytest.raises(RequestEndedError):
        send(picture(), first)
    with pytest.raises(RequestEndedError):
        receive(parcel)
    with lockers.lend() as second:
        assert second.inode != first.inode


async def test_a_late_stage_never_reaches_the_locker_of_the_next_request(lockers: Lockers) -> None:
    """The number of its file is in use again, by another file."""
    with pytest.raises(KeyError), lockers.lend() as first:
        raise KeyError
    with lockers.lend() as second:
        assert second.fd == first.fd
        with pytest.raises(RequestEndedError):
            send(picture(), first)
        assert size(second) == 0


async def test_what_nobody_uses_goes_after_a_while(monkeypatch: pytest.MonkeyPatch, lockers: Lockers) -> None:
    monkeypatch.setattr(transport, "IDLE_S", 0.05)
    with lockers.lend() as locker:
        send(picture(), locker)
    await asyncio.sleep(0.2)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(locker.fd)


async def test_unused_lockers_hold_a_bounded_amount(
    monkeypatch: pytest.MonkeyPatch, lockers: Lockers
) -> None:
    monkeypatch.setattr(transport, "KEPT_BYTES", 3 * picture().nbytes)

    async def request(gate: asyncio.Barrier) -> Locker:
        with lockers.lend() as locker:
            send(picture(), locker)
            await gate.wait()
            return locker

    gate = asyncio.Barrier(8)
    used = await asyncio.gather(*(request(gate) for _ in range(8)))
    assert len({locker.inode for locker in used}) == 8
    alive = 0
    for locker in used:
        try:
            alive += os.fstat(locker.fd).st_ino == locker.inode
        except OSError:
            continue
    assert alive == 3


async def test_an_incomplete_parcel_is_an_error(lockers: Lockers) -> None:
    with lockers.lend() as locker:
        parcel = send(picture(), locker)
        with pytest.raises(RequestEndedError):
            receive(replace(parcel, start=parcel.start + 1))
