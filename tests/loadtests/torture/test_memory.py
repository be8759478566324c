from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtests.torture.memory import HEIGHT, WIDTH, budget_bytes, largest_picture
from serve_app.launcher import DEFAULT_CONFIG
from serve_app.settings import Settings

CONFIGS = sorted(DEFAULT_CONFIG.parent.glob("*.yaml"))
WORST_BYTES_A_PIXEL = 9


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_what_memory_it_takes_and_has_room_for_its_pixels(config: Path) -> None:
    assert budget_bytes(config) > Settings().max_pixels_in_flight * WORST_BYTES_A_PIXEL


def test_a_config_without_a_budget_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("applications: []\n")
    with pytest.raises(SystemExit, match="Memory: at most"):
        budget_bytes(config)


def test_the_largest_picture_is_accepted_by_a_service_as_it_comes() -> None:
    picture = largest_picture()
    settings = Settings()
    assert len(picture) < settings.max_upload_bytes
    assert 0.99 * settings.max_image_pixels < WIDTH * HEIGHT <= settings.max_image_pixels
    eighth = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    assert eighth.shape == (HEIGHT // 8, WIDTH // 8, 3)
