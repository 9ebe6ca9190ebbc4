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
from render.errors import DeviceError, StartupError, VoxelcastError
from render.memory import default_budget_bytes
from render.place import Seat

if TYPE_CHECKING:
    from render.backends.cuda.device import Device

logger = logging.getLogger(__name__)

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
CARD_SHARE = 0.8
"""Of a card's free memory, what volumes may take: pictures, the compiler's code and slack need the rest."""


@dataclass(frozen=True)
class Choice:
    """What renders, and why it is that.

    Attributes
    ----------
    renderer
        The first; to be closed, with the others, by whoever asked for it.
    asked
        What ``--device`` said.
    reason
        One line, for the log and the metrics.
    budget_bytes
        For volumes resident on the first.
    others
        The other cards, with their budgets.
    host_budget_bytes
        For the decoded voxels of the cards' volumes; None on the CPU, which draws them where they are.
    threads
        Of a CPU renderer that takes over from a card.
    """

    renderer: Renderer
    asked: str
    reason: str
    budget_bytes: int
    others: tuple[Seat, ...] = ()
    host_budget_bytes: int | None = None
    threads: int | None = None

    @property
    def seats(self) -> tuple[Seat, ...]:
        """All of them."""
        return Seat(self.renderer, self.budget_bytes), *self.others

    @property
    def device(self) -> str:
        """Their names, with commas between them."""
        return ", ".join(seat.renderer.device for seat in self.seats)

    @property
    def fallback(self) -> Callable[[], Seat] | None:
        """What makes the CPU renderer that takes over where a card is lost; None where there is no card."""
        budget_bytes = self.host_budget_bytes
        if budget_bytes is None:
            return None
        return lambda: Seat(CpuRenderer(self.threads), budget_bytes)

    def close(self) -> None:
        """Close the renderers."""
        for seat in self.seats:
            close_renderer(seat.renderer)


def choose(
    asked: str,
    *,
    threads: int | None = None,
    budget_bytes: int | None = None,
    host_bytes: int | None = None,
    cards: int | None = None,
    find: Callable[[], Found] | None = None,
    open_device: Callable[[int], Device] | None = None,
) -> Choice:
    """Make the renderers. Blocks: each card is started, and draws a few pictures beside the CPU's.

    Parameters
    ----------
    asked
        ``auto``, ``cpu``, ``cuda`` (every card that ``CUDA_VISIBLE_DEVICES`` leaves) or ``cuda:N``. ``auto`` is
        ``cuda`` where that can be had, else ``cpu``.
    threads
        Of the CPU renderer.
    budget_bytes
        For resident volumes, on each card; None for half of the host's memory, or `CARD_SHARE` of what the card has
        free, which also is the most that it may be there.
    host_bytes
        For the decoded voxels of volumes on cards and of those that have left them; None for half of the host's memory.
    cards
        At most so many, those with the most free memory; None for all.
    find, open_device
        What looks for cards and starts one.

    Raises
    ------
    StartupError
        If cards were asked for and none can be had: why, in one line.
    """
    if asked == CPU:
        return _on_cpu(asked, "--device cpu", threads, budget_bytes)
    found = (find or probe)()
    why, picked = _pick(asked, found)
    seats: list[Seat] = []
    failed: list[str] = []
    for card in picked:
        if len(seats) == cards:
            break
        try:
            seats.append(_seat(card, budget_bytes, open_device or _cupy_device))
        except DeviceError as error:
            failed.append(error.message)
    why = "; ".join(failed) or why
    if seats:
        return _on_cards(asked, seats, failed, host_bytes or default_budget_bytes(), threads)
    if asked != AUTO:
        raise StartupError(f"--device {asked}: {why}")
    return _on_cpu(asked, why, threads, budget_bytes)


def close_renderer(renderer: Renderer) -> None:
    """End a renderer's threads, give its card's memory back."""
    close = getattr(renderer, "close", None)
    if close is not None:
        close()


def _pick(asked: str, found: Found) -> tuple[str, list[Card]]:
    """Return the cards that may be tried, the one with the most free memory first; or why there is none."""
    if not found.cards:
        return found.reason, []
    cards = sorted(found.cards, key=lambda each: -each.free_bytes)
    number = asked.partition(":")[2]
    if number:
        cards = [card for card in cards if card.index == int(number)]
        if not cards:
            return f"no such card among the {len(found.cards)} that are visible", []
    return "; ".join(card.reason for card in cards if card.reason), [card for card in cards if not card.reason]


def _seat(card: Card, budget_bytes: int | None, open_device: Callable[[int], Device]) -> Seat:
    """Start a card and try it.

    Raises
    ------
    DeviceError
        If it does not start, or draws something else than the CPU.
    """
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
    if renderer is not None and not wrong:
        return Seat(renderer, budget)
    if renderer is not None:
        renderer.close()
    raise DeviceError(f"cuda:{card.index} failed its self-test: {wrong}", device=f"cuda:{card.index}")


def _on_cards(asked: str, seats: list[Seat], failed: list[str], host_bytes: int, threads: int | None) -> Choice:
    models = ", ".join(getattr(seat.renderer, "description", "") for seat in seats)
    reason = "; ".join([f"{models} {'draws' if len(seats) == 1 else 'draw'} what the CPU draws", *failed])
    choice = Choice(seats[0].renderer, asked, reason, seats[0].budget_bytes, tuple(seats[1:]), host_bytes, threads)
    logger.info("rendering on %s: %s", choice.device, reason)
    return choice


def _on_cpu(asked: str, reason: str, threads: int | None, budget_bytes: int | None) -> Choice:
    logger.info("rendering on the CPU: %s", reason)
    return Choice(CpuRenderer(threads), asked, reason, budget_bytes or default_budget_bytes())


def _cupy_device(index: int) -> Device:
    from render.backends.cuda.cupy_device import CupyDevice

    return CupyDevice(index)
