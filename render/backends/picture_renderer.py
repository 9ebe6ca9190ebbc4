"""What a renderer may be besides: one that makes the picture that is seen, so that pixels need not leave its device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Protocol, TypeGuard, runtime_checkable

from render.backends.base import Renderer, ResidentVolume
from render.frame import FINAL, Frame, PictureRequest, Quality
from render.view import View


def makes_pictures(renderer: Renderer) -> TypeGuard[PictureRenderer]:
    """Whether a renderer is a `PictureRenderer`."""
    return _makes_pictures(type(renderer))


@functools.cache
def _makes_pictures(kind: type[Renderer]) -> bool:
    """Remember it for each kind of renderer: to look at all methods of one takes as long as to ask for a frame."""
    return issubclass(kind, PictureRenderer)


@runtime_checkable
class PictureRenderer(Protocol):
    """A `render.backends.base.Renderer` with one method more; whoever wants a JPEG asks for it by this one."""

    def render_picture(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        picture: PictureRequest,
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Draw one View, as `Renderer.render` does, and make `Frame.shown`. Blocks.

        `Frame.values` and `Frame.color` are None unless `PictureRequest.with_pixels`. `render.encoding.encode` makes
        the same picture of what is shown and of the pixels.
        """
