import pytest

from deployments.errors import OverloadedError
from serve_app.upload_budget import UploadBudget


def test_bytes_are_held_until_their_upload_is_over() -> None:
    budget = UploadBudget(100)
    with budget.account() as keep:
        keep(60)
        keep(40)
        assert budget.held == 100
    assert budget.held == 0


def test_more_than_fits_is_refused_and_costs_the_others_nothing() -> None:
    budget = UploadBudget(100)
    with budget.account() as keep:
        keep(60)
        with pytest.raises(OverloadedError), budget.account() as other:
            other(30)
            other(30)
        assert budget.held == 60
        keep(40)
