"""Which volumes a session holds: those of its views, and the one that its client opened last."""

from __future__ import annotations

from collections.abc import Callable

from render.stream.contract import Action, DescribeVolume, OpenVolume, ReleaseVolume


class VolumeHolds:
    """The volumes of the session's views, and the one that the client opened last.

    Parameters
    ----------
    act
        Told what is to be done.
    """

    def __init__(self, act: Callable[[Action], None]) -> None:
        self._act = act
        self._revisions: dict[str, int] = {}  # 0 until it is resident
        self._whole: set[str] = set()
        self._opened = ""
        self._in_part = False

    def revision(self, volume_id: str) -> int:
        """Return the revision of a volume that is resident; 0 of one that is not."""
        return self._revisions.get(volume_id, 0)

    def is_loading(self, volume_id: str) -> bool:
        """Whether it is held, but not resident yet with all its slices."""
        return volume_id in self._revisions and volume_id not in self._whole

    def hold(self, of_views: set[str]) -> None:
        """Open what is wanted, let go of the rest."""
        wanted = of_views | ({self._opened} if self._opened else set())
        for volume_id in sorted(self._revisions.keys() - wanted):
            del self._revisions[volume_id]
            self._whole.discard(volume_id)
            self._act(ReleaseVolume(volume_id))
        for volume_id in sorted(wanted - self._revisions.keys()):
            self._revisions[volume_id] = 0
            self._act(OpenVolume(volume_id))

    def open(self, volume_id: str, of_views: set[str], *, in_part: bool = False) -> None:
        """Hold a volume for the client itself, in place of the one before, and have it described.

        Parameters
        ----------
        in_part
            As soon as something of it is there, and again once it is whole.
        """
        self._opened, self._in_part = volume_id, in_part
        if self.revision(volume_id):
            self._describe(volume_id)
        self.hold(of_views)

    def opened(self, volume_id: str, revision: int, *, is_whole: bool = True) -> None:
        """Note that a volume is resident, or has more slices than before."""
        if volume_id not in self._revisions:
            return
        is_news = not self._revisions[volume_id] or is_whole
        self._revisions[volume_id] = revision
        if is_whole:
            self._whole.add(volume_id)
        if is_news and volume_id == self._opened:
            self._describe(volume_id)

    def _describe(self, volume_id: str) -> None:
        if self._in_part or volume_id in self._whole:
            self._act(DescribeVolume(volume_id))

    def failed(self, volume_id: str) -> tuple[bool, bool]:
        """Note that a volume can't be opened; return whether it was held, and asked for by the client itself."""
        held = self._revisions.pop(volume_id, None) is not None
        self._whole.discard(volume_id)
        asked = held and volume_id == self._opened
        if asked:
            self._opened = ""
        return held, asked
