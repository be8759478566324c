import pytest

from deployments.errors import ImageDecodeError, StageLostError
from deployments.poison import REFUSED_S, REMEMBERED, Quarantine


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lose(quarantine: Quarantine, data: bytes) -> None:
    with pytest.raises(StageLostError), quarantine.decoding(data):
        raise StageLostError("the replica ended")


def decode(quarantine: Quarantine, data: bytes) -> None:
    with quarantine.decoding(data):
        pass


def test_a_picture_that_was_alone_when_the_decoder_ended_is_refused_for_a_while() -> None:
    clock = Clock()
    quarantine = Quarantine(clock)
    lose(quarantine, b"poison")
    decode(quarantine, b"another")
    with pytest.raises(ImageDecodeError, match="refused"):
        decode(quarantine, b"poison")
    clock.now_s = REFUSED_S
    decode(quarantine, b"poison")
    decode(quarantine, b"poison")


def test_of_several_pictures_one_is_refused_once_it_was_there_twice() -> None:
    quarantine = Quarantine()
    for bystander in (b"a", b"b"):
        with pytest.raises(StageLostError), quarantine.decoding(bystander):
            lose(quarantine, b"poison")
            raise StageLostError("the same replica")
    for bystander in (b"a", b"b"):
        decode(quarantine, bystander)
    with pytest.raises(ImageDecodeError):
        decode(quarantine, b"poison")


def test_other_failures_are_no_strikes() -> None:
    quarantine = Quarantine()
    for _ in range(3):
        with pytest.raises(ImageDecodeError, match="corrupt"), quarantine.decoding(b"x"):
            raise ImageDecodeError("corrupt")
    decode(quarantine, b"x")


def test_what_is_remembered_is_bounded() -> None:
    quarantine = Quarantine()
    for number in range(REMEMBERED + 1):
        lose(quarantine, number.to_bytes(4, "big"))
    decode(quarantine, (0).to_bytes(4, "big"))  # the oldest is forgotten
    with pytest.raises(ImageDecodeError):
        decode(quarantine, (1).to_bytes(4, "big"))
