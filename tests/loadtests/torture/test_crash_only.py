from loadtests.torture.client import BROKEN, Answer
from loadtests.torture.crash_only import CLIENTS, judge
from loadtests.torture.victim import CONTROLLER, GCS, RAYLET, part_of

KILLED_S = 100.0


def steady(until_s: float, *, gap: tuple[float, float] = (0.0, 0.0)) -> list[Answer]:
    """An answer every tenth of a second, without those sent in a gap."""
    answers = []
    for tenth in range(round((until_s - KILLED_S) * 10)):
        sent_s = KILLED_S + tenth / 10
        if not gap[0] <= sent_s < gap[1]:
            answers.append(Answer(sent_s, sent_s + 0.05, 200))
    return answers


def test_what_was_in_flight_may_fail() -> None:
    failed = [Answer(99.9, 100.1, 503) for _ in range(CLIENTS)]
    after = judge("Decoder", failed + steady(110.0, gap=(100.0, 104.0)), KILLED_S, 4.0)
    assert after.finding().holds
    assert after.answering_s is not None
    assert round(after.answering_s, 2) == 4.05


def test_one_request_more_is_too_many() -> None:
    failed = [Answer(99.9, 100.1, 503) for _ in range(CLIENTS + 1)]
    assert not judge("Decoder", failed + steady(110.0), KILLED_S, 4.0).finding().holds


def test_no_request_may_fail_with_what_no_picture_is_in() -> None:
    failed = [Answer(99.9, 100.1, 503)]
    assert not judge("PostgreSQL", failed + steady(110.0), KILLED_S, 4.0).finding().holds
    assert judge("PostgreSQL", steady(110.0), KILLED_S, 4.0).finding().holds


def test_it_must_answer_again_and_be_replaced_in_time() -> None:
    assert not judge("Masker", steady(130.0, gap=(100.0, 116.0)), KILLED_S, 4.0).finding().holds
    assert not judge("Masker", steady(110.0), KILLED_S, 15.1).finding().holds
    assert not judge("Masker", steady(110.0), KILLED_S, None).finding().holds
    assert not judge("Masker", [], KILLED_S, 4.0).finding().holds


def test_without_ray_everything_fails_until_the_service_has_started_again() -> None:
    refused = [Answer(100.0 + tenth / 10, 100.05 + tenth / 10, BROKEN) for tenth in range(300)]
    after = refused + steady(150.0, gap=(100.0, 130.0))
    assert judge(RAYLET, after, KILLED_S, 31.0).finding().holds
    assert not judge(RAYLET, after, KILLED_S, None).finding().holds
    assert not judge("Decoder", after, KILLED_S, 31.0).finding().holds


def test_processes_are_told_apart() -> None:
    assert part_of("ray::ServeReplica:face-api:Decoder", "ray::ServeRepli") == "Decoder"
    assert part_of("ray::ServeController.listen_for_change", "ray::ServeContr") == CONTROLLER
    assert part_of("/site-packages/ray/core/src/ray/gcs/gcs_server --log_dir=...", "gcs_server") == GCS
    assert part_of("/site-packages/ray/core/src/ray/raylet/raylet --x=gcs_server", "raylet") == RAYLET
    assert part_of("postgres: checkpointer", "postgres") == "PostgreSQL"
    assert part_of("rclone serve s3", "rclone") == "S3 server"
