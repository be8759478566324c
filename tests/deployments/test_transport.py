import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from deployments.transport import (
    INLINE,
    INLINE_BYTES,
    SHARED_MEMORY,
    Locker,
    OtherHostError,
    Outbox,
    RequestEndedError,
    host_id,
    receive,
    sweep,
)
from models.types import UInt8Array

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")


@pytest.fixture
def session() -> Iterator[str]:
    name = f"test{uuid4().hex[:8]}"
    yield name
    sweep(0.0, name)


@pytest.fixture
def outbox(session: str) -> Outbox:
    return Outbox(session, 60)


@pytest.fixture
def locker(outbox: Outbox) -> Iterator[Locker]:
    with outbox.open() as opened:
        yield opened


def picture(side: int = 200) -> UInt8Array:
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)


def files(locker: Locker) -> list[str]:
    return [path.name for path in (SHARED_MEMORY / locker.name).iterdir()]


def lockers(session: str) -> list[str]:
    return [path.name for path in SHARED_MEMORY.glob(f"face-api-{session}*")]


def test_a_received_parcel_equals_what_was_sent_and_leaves_no_file(outbox: Outbox, locker: Locker) -> None:
    sent = picture()
    parcel = outbox.send(sent, locker)
    assert len(files(locker)) == 1
    received = receive(parcel)
    assert np.array_equal(received, sent)
    assert files(locker) == []


def test_a_received_array_may_be_written_to(outbox: Outbox, locker: Locker) -> None:
    received = receive(outbox.send(picture(), locker))
    received[:] = 7
    assert received.min() == received.max() == 7


def test_small_arrays_travel_inline(outbox: Outbox, locker: Locker) -> None:
    small = np.arange(INLINE_BYTES % 256, dtype=np.uint8)
    parcel = outbox.send(small, locker)
    assert parcel.inline is not None
    assert np.array_equal(receive(parcel), small)


def test_inline_on_request_leaves_no_file(outbox: Outbox, session: str) -> None:
    sent = picture()
    parcel = outbox.send(sent, INLINE)
    assert lockers(session) == []
    assert np.array_equal(receive(parcel), sent)


def test_a_stage_on_another_host_answers_inline(outbox: Outbox, locker: Locker) -> None:
    sent = picture()
    parcel = outbox.send(sent, replace(locker, host="elsewhere"))
    assert files(locker) == []
    assert np.array_equal(receive(parcel), sent)


def test_a_parcel_of_another_host_is_named_as_such(outbox: Outbox, locker: Locker) -> None:
    parcel = outbox.send(picture(), locker)
    with pytest.raises(OtherHostError):
        receive(replace(parcel, host="elsewhere"))


def test_a_parcel_can_be_taken_once(outbox: Outbox, locker: Locker) -> None:
    parcel = outbox.send(picture(), locker)
    receive(parcel)
    with pytest.raises(RequestEndedError):
        receive(parcel)


def test_a_locker_goes_with_what_nobody_took(outbox: Outbox, session: str) -> None:
    with outbox.open() as locker:
        parcel = outbox.send(picture(), locker)
    assert lockers(session) == []
    with pytest.raises(RequestEndedError):
        receive(parcel)


def test_a_locker_goes_when_its_request_fails(outbox: Outbox, session: str) -> None:
    with pytest.raises(KeyError), outbox.open() as locker:
        outbox.send(picture(), locker)
        raise KeyError
    assert lockers(session) == []


def test_a_parcel_sent_after_its_request_ended_leaves_nothing(outbox: Outbox, session: str) -> None:
    with outbox.open() as locker:
        pass
    with pytest.raises(RequestEndedError):
        outbox.send(picture(), locker)
    assert lockers(session) == []


def test_a_locker_that_ends_while_stages_fill_it_leaves_nothing(outbox: Outbox, session: str) -> None:
    small = picture(110)
    refused: list[bool] = []

    def fill(locker: Locker) -> None:
        try:
            for _ in range(20_000):  # 700 MB at most, should nobody be refused
                outbox.send(small, locker)
        except RequestEndedError:
            refused.append(True)

    for _ in range(50):
        with outbox.open() as locker:
            stages = [threading.Thread(target=fill, args=(locker,)) for _ in range(2)]
            for stage in stages:
                stage.start()
            time.sleep(0.002)
        for stage in stages:
            stage.join()
        assert lockers(session) == []
    assert len(refused) >= 90  # a stage that is scheduled all the time may be through before it is refused


def test_files_can_be_read_by_their_owner_only(outbox: Outbox, locker: Locker) -> None:
    parcel = outbox.send(picture(), locker)
    assert (SHARED_MEMORY / parcel.name).stat().st_mode & 0o777 == 0o600
    assert (SHARED_MEMORY / locker.name).stat().st_mode & 0o777 == 0o700


def test_a_sweep_removes_old_lockers_and_keeps_young_ones(outbox: Outbox, session: str) -> None:
    with outbox.open() as old, outbox.open() as young:
        outbox.send(picture(), old)
        long_ago = time.time() - 1000
        os.utime(SHARED_MEMORY / old.name, (long_ago, long_ago))
        sweep(600, session)
        assert lockers(session) == [young.name]


def test_an_array_that_is_not_contiguous_arrives_whole(outbox: Outbox, locker: Locker) -> None:
    sent = picture()[::2, ::-1]
    assert np.array_equal(receive(outbox.send(sent, locker)), sent)
