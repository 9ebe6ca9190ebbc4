"""The states of a volume that grows, on one renderer, from the first slices to the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from render.backends.base import GrowingRenderer, Renderer, ResidentVolume
from render.errors import BudgetExceededError, DeviceError, DeviceLostError
from render.growth import Span, joined
from render.volume import Volume

logger = logging.getLogger(__name__)


class States:
    """Makes each state of a volume resident as its slices arrive. Use it in the load's thread.

    A state that can't be made, for want of memory, is left out: its slices come with the next one.

    Parameters
    ----------
    renderer
        Where.
    show
        Given each state.
    lost
        Told why, if the renderer does nothing any more. There are no more states then.
    """

    def __init__(
        self, renderer: GrowingRenderer, show: Callable[[ResidentVolume], object], lost: Callable[[str], object]
    ) -> None:
        self._renderer = renderer
        self._show = show
        self._lost = lost
        self._is_lost = False
        self._latest: ResidentVolume | None = None
        self._owed: list[Span] = []

    def add(self, volume: Volume, slices: Sequence[Span]) -> None:
        """Take up a volume as far as it is there; see `render.growth.Growth.grown`."""
        self._owed += slices
        if self._is_lost:
            return
        try:
            self._latest = self._renderer.grow(self._latest, volume, joined(self._owed))
        except DeviceLostError as error:
            self._latest, self._is_lost = None, True
            self._lost(error.message)
        except (DeviceError, BudgetExceededError) as error:
            logger.info("volume %s is not shown with %d slices missing: %s", volume.id, volume.missing_slices, error)
        else:
            self._owed.clear()
            self._show(self._latest)

    def whole(self, renderer: Renderer, volume: Volume, slices: Sequence[Span]) -> ResidentVolume:
        """Make the whole volume resident: what is not there yet, or all of it where the states are elsewhere.

        Parameters
        ----------
        renderer
            Where it is to be; another one than the states' if that is lost.
        volume
            Without missing slices.
        slices
            That have arrived since the last `add`.
        """
        if renderer is self._renderer and self._latest is not None:
            return self._renderer.grow(self._latest, volume, joined([*self._owed, *slices]))
        return renderer.upload(volume)
