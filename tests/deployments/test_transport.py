import os
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from deployments.transport import (
    INLINE_BYTES,
    SHARED_MEMORY,
    OtherHostError,
    Outbox,
    discard,
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


def picture(side: int = 200) -> UInt8Array:
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)


def files(session: str) -> list[str]:
    return [p.name for p in SHARED_MEMORY.glob(f"face-api-{session}*")]


def test_a_received_parcel_equals_what_was_sent_and_leaves_no_file(session: str) -> None:
    sent = picture()
    parcel = Outbox(session, 60).send(sent)
    assert len(files(session)) == 1
    received = receive(parcel)
    assert np.array_equal(received, sent)
    assert files(session) == []


def test_a_received_array_may_be_written_to(session: str) -> None:
    received = receive(Outbox(session, 60).send(picture()))
    received[:] = 7
    assert received.min() == received.max() == 7


def test_small_arrays_travel_inline(session: str) -> None:
    small = np.arange(INLINE_BYTES % 256, dtype=np.uint8)
    parcel = Outbox(session, 60).send(small)
    assert parcel.inline is not None
    assert np.array_equal(receive(parcel), small)


def test_inline_on_request_leaves_no_file(session: str) -> None:
    sent = picture()
    parcel = Outbox(session, 60).send(sent, inline=True)
    assert files(session) == []
    assert np.array_equal(receive(parcel), sent)


def test_a_parcel_of_another_host_is_named_as_such(session: str) -> None:
    parcel = Outbox(session, 60).send(picture())
    with pytest.raises(OtherHostError):
        receive(replace(parcel, host="elsewhere"))
    discard(parcel)


def test_a_parcel_can_be_taken_once(session: str) -> None:
    parcel = Outbox(session, 60).send(picture())
    receive(parcel)
    with pytest.raises(FileNotFoundError):
        receive(parcel)
    discard(parcel)


def test_a_discarded_parcel_leaves_no_file(session: str) -> None:
    parcel = Outbox(session, 60).send(picture())
    discard(parcel)
    discard(None)
    assert files(session) == []


def test_files_can_be_read_by_their_owner_only(session: str) -> None:
    parcel = Outbox(session, 60).send(picture())
    assert (SHARED_MEMORY / parcel.name).stat().st_mode & 0o777 == 0o600


def test_a_sweep_removes_old_parcels_and_keeps_young_ones(session: str) -> None:
    old = Outbox(session, 600).send(picture(201))
    young = Outbox(session, 600).send(picture(202))
    long_ago = time.time() - 1000
    os.utime(SHARED_MEMORY / old.name, (long_ago, long_ago))
    sweep(600, session)
    assert files(session) == [young.name]


def test_an_array_that_is_not_contiguous_arrives_whole(session: str) -> None:
    sent = picture()[::2, ::-1]
    assert np.array_equal(receive(Outbox(session, 60).send(sent)), sent)
