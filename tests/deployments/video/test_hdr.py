import numpy as np
import pytest

from deployments.video.hdr import as_sdr


def test_paper_is_white_and_a_grey_card_is_where_srgb_has_it() -> None:
    # BT.2408: 203 nits are 58 % of PQ, the 18 % grey card, 26 nits, is 38 %.
    values = np.array([[[0, 97, 148]]], np.uint8)
    black, grey, white = as_sdr(values)[0, 0]
    assert (black, white) == (0, pytest.approx(255, abs=3))
    assert grey == pytest.approx(255 * 0.40, abs=6)


def test_it_never_gets_darker_with_more_light() -> None:
    ramp = as_sdr(np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3))
    assert (np.diff(ramp[0, :, 0].astype(int)) >= 0).all()
