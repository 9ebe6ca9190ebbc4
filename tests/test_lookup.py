"""Lookup tables clamp at their ends, scale by their bits and are shared once they have crossed a process."""

from __future__ import annotations

import pickle

import numpy as np

from render.lookup import LookupTable


def table(entries: list[int], first: int = 0, bits: int = 8) -> LookupTable:
    return LookupTable(first, bits, np.array(entries, "<u2").tobytes())


def test_inputs_beyond_the_ends_get_the_end_entries() -> None:
    np.testing.assert_array_equal(table([5, 6, 7], first=-1).look_up([-9, -1, 0, 1, 99]), [5, 5, 6, 7, 7])


def test_fractions_are_rounded_to_the_nearest_input() -> None:
    np.testing.assert_array_equal(table([5, 6]).look_up([0.4, 0.6]), [5, 6])


def test_gray_is_the_entry_over_the_largest_that_its_bits_hold() -> None:
    np.testing.assert_array_equal(table([0, 1023], bits=10).apply([0, 1]), [0, 1])
    np.testing.assert_array_equal(table([0, 255], bits=8).apply([1.0, np.nan]), [1, np.nan])


def test_equal_tables_from_another_process_are_one() -> None:
    one, other = (pickle.loads(pickle.dumps(table([1, 2, 3]))) for _ in range(2))
    assert one is other
    assert one == table([1, 2, 3])
    assert pickle.loads(pickle.dumps(table([1, 2, 4]))) is not one
