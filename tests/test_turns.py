"""Who is next, by a clock that is set by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from render.turns import Bands, Turn, Turns
from tests.fakes import FakeClock


class Line:
    """Turns whose holders are told in order."""

    def __init__(self, at_once: int = 1, each: int = 1) -> None:
        self.clock = FakeClock()
        self.turns = Turns(at_once, each, self.clock)
        self.woken: list[str] = []

    def ask(self, key: str, name: str = "") -> Turn:
        return self.turns.ask(key, lambda: self.woken.append(name or key))


def test_one_alone_never_waits() -> None:
    line = Line()
    for n in range(3):
        turn = line.ask("a")
        assert len(line.woken) == n + 1
        line.turns.end(turn)
    assert line.turns.waiting == 0


def test_the_one_that_has_had_the_least_time_is_next() -> None:
    line = Line()
    had = {"a": 0.0, "b": 0.0}
    costs = {"a": 5.0, "b": 1.0}
    turn = {key: line.ask(key) for key in had}
    for _ in range(60):
        key = line.woken[-1]
        line.clock.now += costs[key]
        had[key] += costs[key]
        again = line.ask(key)
        line.turns.end(turn[key])
        turn[key] = again
    assert abs(had["a"] - had["b"]) <= 5
    assert line.woken.count("b") > 4 * line.woken.count("a")


def test_who_comes_late_is_not_owed_what_others_had_meanwhile() -> None:
    line = Line()
    first = line.ask("old")
    line.clock.now += 1000
    again = line.ask("old")
    line.turns.end(first)
    late = line.ask("new")
    line.clock.now += 1
    more = line.ask("old")
    line.turns.end(again)
    assert line.woken == ["old", "old", "new"]
    line.clock.now += 2
    line.ask("new")
    line.turns.end(late)
    assert line.woken[-1] == "old"  # not another thousand seconds of new
    assert more.began is not None


def test_nobody_has_more_than_his_part_while_the_rest_is_free() -> None:
    line = Line(at_once=4, each=2)
    turns = [line.ask("greedy", f"greedy {n}") for n in range(4)]
    assert line.woken == ["greedy 0", "greedy 1"]
    line.ask("modest")
    assert line.woken[-1] == "modest"
    line.turns.end(turns[0])
    assert line.woken[-1] == "greedy 2"


def test_the_one_with_the_fewest_in_hand_is_next() -> None:
    line = Line(at_once=3, each=3)
    turns = [line.ask("a", f"a{n}") for n in range(5)]
    line.ask("b")
    line.turns.end(turns[0])
    assert line.woken[-1] == "b"


def test_who_stops_waiting_is_not_woken() -> None:
    line = Line()
    holder, gone, next_one = line.ask("a"), line.ask("b"), line.ask("c")
    line.turns.end(gone)
    line.turns.end(holder)
    assert line.woken == ["a", "c"]
    line.turns.end(next_one)
    assert line.turns._had == {}  # nothing is kept of those who have gone


def test_long_ones_leave_some_turns_to_the_others() -> None:
    woken: list[str] = []
    turns = Turns(4, 3, FakeClock(), long_at_once=3, long_each=2)
    long = [Turn(key, lambda name=f"{key} {n}": woken.append(name), is_long=True) for key in "ab" for n in range(3)]
    for turn in long:
        turns.join(turn)
    assert woken == ["a 0", "a 1", "b 0"]  # two of one key, three in all
    turns.ask("a", lambda: woken.append("a short"))
    assert woken[-1] == "a short"
    turns.end(long[0])
    assert woken[-1] == "b 1"
    turns.end(long[3])
    assert woken[-1] == "b 2"
    turns.end(long[4])
    assert woken[-1] == "a 2"
    assert turns.waiting == 0


def test_short_frames_need_no_turn_and_long_ones_give_theirs_back() -> None:
    turns = Turns(1, 1)
    long, short = Bands(turns, "long"), Bands(turns, "short")
    for _ in range(5):
        long.begin()
    for _ in range(2):
        short.begin()  # would block for ever
    short.end()
    other = turns.ask("other", lambda: None)
    assert other.began is None
    long.end()
    long.end()
    assert other.began is not None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 10)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_all_who_wait_get_their_turn_and_never_too_many_at_once(visits, at_once, each) -> None:
    line = Line(at_once, each)
    turns = [line.ask(key) for key, _ in visits]
    ended: set[int] = set()
    while len(ended) < len(turns):
        in_hand = [n for n, turn in enumerate(turns) if turn.began is not None and n not in ended]
        assert 1 <= len(in_hand) <= at_once
        assert all(sum(turns[n].key == key for n in in_hand) <= each for key in "abc")
        line.clock.now += visits[in_hand[0]][1]
        line.turns.end(turns[in_hand[0]])
        ended.add(in_hand[0])
    assert line.turns._had == {}
