"""Which renderer a process uses: ``--device auto|cpu|cuda[:N]``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from render.backends.base import Renderer
from render.backends.cpu.renderer import CpuRenderer
from render.backends.cuda.probe import Card, Found, probe
from render.errors import StartupError, VoxelcastError
from render.memory import default_budget_bytes

if TYPE_CHECKING:
    from render.backends.cuda.device import Device

logger = logging.getLogger(__name__)

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
CARD_SHARE = 0.8
"""Of a card's free memory, what volumes may take: pictures, the compiler's code and slack need the rest."""


@dataclass(frozen=True)
class Choice:
    """A renderer, and why it is that one.

    Attributes
    ----------
    renderer
        To be closed by whoever asked for it.
    asked
        What ``--device`` said.
    reason
        One line, for the log and the metrics.
    budget_bytes
        For resident volumes.
    """

    renderer: Renderer
    asked: str
    reason: str
    budget_bytes: int

    def close(self) -> None:
        """Close the renderer."""
        close = getattr(self.renderer, "close", None)
        if close is not None:
            close()


def choose(
    asked: str,
    *,
    threads: int | None = None,
    budget_bytes: int | None = None,
    find: Callable[[], Found] | None = None,
    open_device: Callable[[int], Device] | None = None,
) -> Choice:
    """Make the renderer. Blocks: a card is started, and draws a few pictures beside the CPU's.

    Parameters
    ----------
    asked
        ``auto``, ``cpu``, ``cuda`` (the card with the most free memory) or ``cuda:N``.
    threads
        Of the CPU renderer.
    budget_bytes
        For resident volumes; None for half of the host's memory, or `CARD_SHARE` of what the card has free, which also
        is the most that it may be there.
    find, open_device
        What looks for cards and starts one.

    Raises
    ------
    StartupError
        If a card was asked for by name and can't be had: why, in one line.
    """
    if asked == CPU:
        return _on_cpu(asked, "--device cpu", threads, budget_bytes)
    found = (find or probe)()
    why, card = _pick(asked, found)
    if card is not None:
        made = _on_card(asked, card, budget_bytes, open_device or _cupy_device)
        if isinstance(made, Choice):
            return made
        why = made
    if asked != AUTO:
        raise StartupError(f"--device {asked}: {why}")
    return _on_cpu(asked, why, threads, budget_bytes)


def _pick(asked: str, found: Found) -> tuple[str, Card | None]:
    """Return the card, or why there is none."""
    if not found.cards:
        return found.reason, None
    number = asked.partition(":")[2]
    if number:
        card = next((each for each in found.cards if each.index == int(number)), None)
        if card is None:
            return f"no such card among the {len(found.cards)} that are visible", None
    else:
        card = max(found.cards, key=lambda each: each.free_bytes)
    return card.reason or "", None if card.reason else card


def _on_card(asked: str, card: Card, budget_bytes: int | None, open_device: Callable[[int], Device]) -> Choice | str:
    from render.backends.cuda.renderer import CudaRenderer
    from render.backends.cuda.selftest import disagreement

    available = int(CARD_SHARE * card.free_bytes)
    budget = available if budget_bytes is None else min(budget_bytes, available)
    renderer = None
    try:
        renderer = CudaRenderer(open_device(card.index), budget)
        with contextlib.closing(CpuRenderer(1)) as judge:
            wrong = disagreement(renderer, judge)
    except (VoxelcastError, ImportError) as error:
        wrong = str(error)
    if not wrong:
        reason = f"{renderer.description} draws what the CPU draws" if renderer else ""
        logger.info("rendering on cuda:%d: %s", card.index, reason)
        assert renderer is not None
        return Choice(renderer, asked, reason, budget)
    if renderer is not None:
        renderer.close()
    return f"cuda:{card.index} failed its self-test: {wrong}"


def _on_cpu(asked: str, reason: str, threads: int | None, budget_bytes: int | None) -> Choice:
    logger.info("rendering on the CPU: %s", reason)
    return Choice(CpuRenderer(threads), asked, reason, budget_bytes or default_budget_bytes())


def _cupy_device(index: int) -> Device:
    from render.backends.cuda.cupy_device import CupyDevice

    return CupyDevice(index)
