"""When a stream asks whether the server is still there, and when it gives it up."""

from __future__ import annotations

import math

from voxelcast.pulse import ANSWER_S, QUIET_S, Pulse


def test_before_the_first_word_nothing_is_asked() -> None:
    pulse = Pulse()
    assert pulse.due_at_s == math.inf
    assert not pulse.asks(1e9)
    assert not pulse.is_lost(1e9)


def test_silence_is_asked_about_once_and_given_its_time() -> None:
    pulse = Pulse()
    pulse.heard(100.0)
    assert pulse.due_at_s == 100.0 + QUIET_S
    assert not pulse.asks(100.0 + QUIET_S - 0.1)
    asked_at_s = 100.0 + QUIET_S + 3
    assert pulse.asks(asked_at_s)
    assert not pulse.asks(asked_at_s + 1)
    assert pulse.due_at_s == asked_at_s + ANSWER_S
    assert not pulse.is_lost(asked_at_s + ANSWER_S - 0.1)
    assert pulse.is_lost(asked_at_s + ANSWER_S)


def test_anything_that_is_heard_will_do() -> None:
    pulse = Pulse()
    pulse.heard(0.0)
    assert pulse.asks(QUIET_S)
    pulse.heard(QUIET_S + 1)
    assert not pulse.is_lost(1e9)
    assert pulse.due_at_s == 2 * QUIET_S + 1
