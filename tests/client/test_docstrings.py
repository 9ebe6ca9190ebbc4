"""The examples of the reference run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import voxelcast

MODULES = [f"voxelcast.{module.name}" for module in pkgutil.iter_modules(voxelcast.__path__)]
EXAMPLES_AT_LEAST = 40


def _tests(address: str) -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        test for name in MODULES for test in finder.find(importlib.import_module(name), extraglobs={"address": address})
    ]


def test_examples(address: str) -> None:
    runner = doctest.DocTestRunner()
    output: list[str] = []
    for test in _tests(address):
        runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)
    assert runner.tries >= EXAMPLES_AT_LEAST


def test_a_wrong_example_is_found(address: str) -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> address\n'elsewhere'\n", {"address": address}, "x", None, None)
    runner = doctest.DocTestRunner()
    runner.run(wrong, out=lambda text: None)
    assert runner.failures == 1


@pytest.mark.parametrize("name", voxelcast.__all__)
def test_everything_public_is_documented(name: str) -> None:
    assert (getattr(voxelcast, name).__doc__ or "").strip()
