from serve_app.advise.stages import stages_of


def test_stage_times_of_detect_come_from_the_profile_at_the_end_of_its_body() -> None:
    body = b'{"detections":[],"profiling":{"decode_ms":1.5,"mask_ms":null,"batch_size":4,"total_ms":9.0}}'
    assert stages_of({}, body) == {"decode": 1.5, "total": 9.0, "batch_size": 4.0}


def test_stage_times_of_mask_come_from_its_header() -> None:
    assert stages_of({"Server-Timing": "decode;dur=1.50, total;dur=9.00"}, b"\xff\xd8") == {
        "decode": 1.5,
        "total": 9.0,
    }


def test_an_answer_may_say_nothing() -> None:
    assert stages_of({}, b"[]") == {}
