import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from deployments.masking.regions import expand_boxes
from loadtests.lossless import ORDINARY, SHARES, compare, faces_covering


@pytest.mark.parametrize("share", SHARES)
def test_faces_cover_the_share_with_their_padding_and_not_one_another(share: float) -> None:
    covered = np.zeros((1080, 1920), np.uint8)
    for x1, y1, x2, y2 in expand_boxes(faces_covering(share, 1920, 1080), ORDINARY.padding, 1920, 1080):
        covered[y1:y2, x1:x2] += 1
    assert covered.max() <= 1
    assert covered.mean() == pytest.approx(share, rel=0.05)


def test_the_lossless_way_loses_nothing_elsewhere(astronaut: NDArray[np.uint8]) -> None:
    ordinary, lossless = compare(simplejpeg.encode_jpeg(astronaut, quality=80), 0.05, 1)
    assert lossless.psnr_db == float("inf") > ordinary.psnr_db > 30
    assert lossless.size_bytes < ordinary.size_bytes
    assert min(ordinary.time_ms, lossless.time_ms) > 0
