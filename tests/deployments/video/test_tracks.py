import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.video.tracks import NO_BOXES, Sighted, Tracker
from models.types import Float32Array

HOLD = 6


def face(x: float, y: float = 100, side: float = 40) -> Float32Array:
    return np.array([[x, y, x + side, y + side]], np.float32)


def followed(
    film: list[Float32Array | Sighted | None], *, cuts: tuple[int, ...] = (), hold: int = HOLD, every: int = 1
) -> list[Float32Array]:
    """The boxes of every frame of a film of sure boxes."""
    tracker = Tracker(hold, every)
    final = []
    for index, frame in enumerate(film):
        sighted = Sighted(frame, NO_BOXES) if isinstance(frame, np.ndarray) else frame
        done = tracker.add(sighted, is_cut=index in cuts)
        final += [] if done is None else [done]
    return final + tracker.end()


def covers(boxes: Float32Array, face: Float32Array) -> bool:
    inside = (boxes[:, :2] <= face[:, :2]).all(axis=1) & (boxes[:, 2:] >= face[:, 2:]).all(axis=1)
    return bool(inside.any())


def test_a_moving_face_that_is_missed_for_some_frames_stays_covered() -> None:
    truth = [face(10 + 8 * index) for index in range(30)]
    film: list[Float32Array | Sighted | None] = list(truth)
    film[12:17] = [NO_BOXES] * 5
    assert all(covers(boxes, where) for boxes, where in zip(followed(film), truth, strict=True))


def test_a_face_found_late_and_lost_early_is_covered_before_and_after() -> None:
    truth = [face(10 + 4 * index) for index in range(30)]
    film: list[Float32Array | Sighted | None] = [
        where if 10 <= index < 20 else NO_BOXES for index, where in enumerate(truth)
    ]
    covered = [covers(boxes, where) for boxes, where in zip(followed(film), truth, strict=True)]
    assert covered == [5 <= index < 26 for index in range(30)]


def test_what_was_found_once_is_held_for_five_frames_only() -> None:
    film: list[Float32Array | Sighted | None] = [NO_BOXES] * 30
    film[15] = face(50)
    assert [len(boxes) for boxes in followed(film, hold=12)] == [1 if 10 <= i <= 20 else 0 for i in range(30)]


def test_a_cut_ends_every_track() -> None:
    film: list[Float32Array | Sighted | None] = [face(50)] * 10 + [NO_BOXES] * 5 + [face(50)] * 10
    boxes = followed(film, cuts=(10, 15))
    assert [len(found) for found in boxes] == [1] * 10 + [0] * 5 + [1] * 10


def test_weak_boxes_continue_a_track_in_both_directions_but_start_none() -> None:
    weak = Sighted(NO_BOXES, face(50))
    film: list[Float32Array | Sighted | None] = [weak] * 4 + [face(50)] + [weak] * 20
    assert [len(found) for found in followed(film, hold=4)] == [1] * 25
    assert [len(found) for found in followed([weak] * 10, hold=3)] == [0] * 10


def test_uncertain_boxes_are_covered_where_they_are_and_in_between_but_not_held() -> None:
    def seen(*frames: int) -> list[Float32Array | Sighted | None]:
        unsure = Sighted(NO_BOXES, NO_BOXES, face(50))
        return [unsure if index in frames else NO_BOXES for index in range(20)]

    assert [len(boxes) for boxes in followed(seen(5))] == [int(index == 5) for index in range(20)]
    assert [len(boxes) for boxes in followed(seen(5, 8))] == [int(5 <= index <= 8) for index in range(20)]
    film = seen(5, 6)
    film[7] = face(50)
    assert [len(boxes) for boxes in followed(film)] == [int(1 <= index <= 13) for index in range(20)]


def test_the_mask_of_a_jittering_face_that_stands_still_hardly_moves() -> None:
    rng = np.random.default_rng(0)
    film: list[Float32Array | Sighted | None] = [
        face(100, side=80) + rng.uniform(-2, 2, (1, 4)).astype(np.float32) for _ in range(40)
    ]
    boxes = np.concatenate(followed(film))
    raw = np.concatenate([frame for frame in film if isinstance(frame, np.ndarray)])
    assert np.abs(np.diff(boxes[3:-3], axis=0)).mean() < 0.4 * np.abs(np.diff(raw[3:-3], axis=0)).mean()


def test_frames_between_those_that_are_looked_at_are_covered() -> None:
    truth = [face(10 + 3 * index) for index in range(41)]
    film: list[Float32Array | Sighted | None] = [
        where if index % 4 == 0 else None for index, where in enumerate(truth)
    ]
    boxes = followed(film, hold=12, every=4)
    assert all(covers(found, where) for found, where in zip(boxes, truth, strict=True))


def test_two_faces_that_pass_each_other_are_both_covered() -> None:
    left = [face(10 + 6 * index, 100) for index in range(40)]
    right = [face(250 - 6 * index, 110) for index in range(40)]
    film: list[Float32Array | Sighted | None] = [
        np.concatenate(pair) for pair in zip(left, right, strict=True)
    ]
    film[18:21] = [NO_BOXES] * 3
    for found, one, other in zip(followed(film), left, right, strict=True):
        assert covers(found, one)
        assert covers(found, other)


def test_a_long_film_keeps_no_more_than_its_window() -> None:
    tracker = Tracker(HOLD)
    for index in range(2000):
        tracker.add(Sighted(face(index % 10), NO_BOXES), is_cut=False)
    (track,) = tracker._tracks
    assert len(track.frames) < 4 * HOLD
    assert track.sightings == 2000


box = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(1, 200), st.floats(1, 200))
film = st.lists(st.tuples(st.lists(box, max_size=4), st.lists(box, max_size=3), st.booleans()), max_size=25)


@settings(max_examples=60, deadline=None)
@given(film, st.integers(2, 8))
def test_whatever_is_to_be_hidden_in_a_frame_is_covered_in_it(
    frames: list[tuple[list[tuple[float, ...]], list[tuple[float, ...]], bool]], hold: int
) -> None:
    def corners(boxes: list[tuple[float, ...]]) -> Float32Array:
        sized = np.array(boxes, np.float32).reshape(-1, 4)
        return np.concatenate([sized[:, :2], sized[:, :2] + sized[:, 2:]], axis=1)

    sighted = [Sighted(corners(sure), corners(weak[1:]), corners(weak[:1])) for sure, weak, _ in frames]
    cuts = tuple(index for index, frame in enumerate(frames) if frame[2])
    final = followed(list(sighted), cuts=cuts, hold=hold)
    assert len(final) == len(frames)
    for found, frame in zip(final, sighted, strict=True):
        for box in np.concatenate([frame.sure, frame.uncertain]):
            assert covers(found, box[None])
        assert np.isfinite(found).all()


def test_a_crowd_is_followed_without_mixing_up_neighbours() -> None:
    places = np.array(
        [[x, y, x + 20, y + 20] for x in range(0, 400, 40) for y in range(0, 200, 40)], np.float32
    )
    film: list[Float32Array | Sighted | None] = [places + np.float32(2 * index) for index in range(20)]
    film[8:11] = [NO_BOXES] * 3
    for index, found in enumerate(followed(film)):
        assert len(found) == len(places)
        assert all(covers(found, place[None] + np.float32(2 * index)) for place in places)


def test_a_hold_is_never_longer_than_asked_for() -> None:
    film: list[Float32Array | Sighted | None] = [face(50)] * 20 + [NO_BOXES] * 20
    assert [len(found) for found in followed(film)] == [1] * (20 + HOLD) + [0] * (20 - HOLD)
    assert followed(film)[25][0, 0] == pytest.approx(50, abs=8)
