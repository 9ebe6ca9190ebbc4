"""A client's text, read: what is wrong with it is said in words that help."""

from __future__ import annotations

import pytest

from render.stream.contract import UnreadableMessageError
from render.stream.messages import parse_client_message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_as_that(number: str) -> None:
    text = '{"set_view": {"view_id": "a", "revision": 1, "view": {"slab_mm": %s}}}'
    with pytest.raises(UnreadableMessageError, match="numbers must be finite") as caught:
        parse_client_message(text % number)
    assert "quoted" not in caught.value.message
    assert parse_client_message(text % "2.5").set_view.view.slab_mm == 2.5


def test_what_protobuf_says_of_other_faults_stays() -> None:
    with pytest.raises(UnreadableMessageError, match="no field named"):
        parse_client_message('{"set_vieww": {}}')
