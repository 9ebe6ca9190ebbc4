"""What a session may do, and the checks of what a client asks for against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from render.errors import InvalidArgumentError, InvalidViewError
from render.view import Viewport

MAX_VOLUME_ID_CHARACTERS = 256


@dataclass(frozen=True)
class Limits:
    """What a session may do.

    Attributes
    ----------
    max_viewport_px
        The longest side of a viewport.
    max_pixels
        Of all views together.
    max_message_bytes, max_hello_bytes
        Of a client's message, and before a Hello was accepted.
    hello_seconds
        Until Hello must have come.
    messages_per_s
        Sustained; twice as many at once.
    """

    max_views: int = 16
    max_viewport_px: int = 4096
    max_pixels: int = 32 << 20
    max_message_bytes: int = 256 << 10
    max_hello_bytes: int = 16 << 10
    max_view_id_characters: int = 64
    hello_seconds: float = 10.0
    messages_per_s: float = 1000.0

    def check_view_id(self, view_id: str) -> None:
        """Raise InvalidArgumentError where a view can't be called that."""
        longest = self.max_view_id_characters
        if not 1 <= len(view_id) <= longest:
            raise InvalidArgumentError(f"view_id of {len(view_id)} characters: 1 to {longest} needed")

    def check_another_view(self, count: int) -> None:
        """Raise InvalidArgumentError where a session that has `count` views can't have one more."""
        if count >= self.max_views:
            raise InvalidArgumentError(f"more than {self.max_views} views")

    def check_viewport(self, viewport: Viewport, others: Iterable[Viewport]) -> None:
        """Raise InvalidViewError where a viewport is too large, or is beside those of the other views."""
        longest = max(viewport.width_px, viewport.height_px)
        if longest > self.max_viewport_px:
            raise InvalidViewError(f"viewport of {longest} px: at most {self.max_viewport_px} here")
        pixels = sum(each.width_px * each.height_px for each in (viewport, *others))
        if pixels > self.max_pixels:
            raise InvalidViewError(f"views of {pixels} px together: at most {self.max_pixels} here")


def check_volume_id(volume_id: str) -> None:
    """Raise InvalidArgumentError where no volume can be called that."""
    if not 1 <= len(volume_id) <= MAX_VOLUME_ID_CHARACTERS:
        raise InvalidArgumentError(f"volume_id of {len(volume_id)} characters: 1 to {MAX_VOLUME_ID_CHARACTERS} needed")


class Allowance:
    """So many messages a second, twice as many at once.

    Parameters
    ----------
    per_s
        Sustained.
    now
        Seconds.
    """

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._left = 2 * per_s
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one; return whether there was one left."""
        self._left = min(2 * self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
