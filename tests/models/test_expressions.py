import pytest

from glus_hf.models.expressions import plain_expression


@pytest.mark.parametrize(
    "text, expected", [("The Dog. ", "the dog"), ("  a .", "a"), ("x", "x"), ("U.S. car", "u.s. car")]
)
def test_plain_expression(text, expected):
    assert plain_expression(text) == expected
