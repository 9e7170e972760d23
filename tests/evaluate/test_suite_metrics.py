"""Every metric that a suite may name is one that lft has."""

from lft.evaluate.run import METRICS
from lft.evaluate.suite_schema import METRICS as NAMES


def test_every_metric_that_a_suite_may_name_is_there() -> None:
    assert set(NAMES) <= set(METRICS)
