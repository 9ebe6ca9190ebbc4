"""Decoded volumes that have left a card and wait in the host's memory to be wanted again."""

from __future__ import annotations

from collections import OrderedDict

from render.volume import Volume


class HostTier:
    """Volumes on no card, least recently used first. How much they may take is for `render.residency` to see to."""

    def __init__(self) -> None:
        self._volumes: OrderedDict[str, Volume] = OrderedDict()

    def __contains__(self, volume_id: object) -> bool:
        return volume_id in self._volumes

    def __len__(self) -> int:
        return len(self._volumes)

    @property
    def bytes(self) -> int:
        """Of their voxels."""
        return sum(volume.nbytes for volume in self._volumes.values())

    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Return the id of each volume and the bytes of its voxels."""
        return tuple((volume.id, volume.nbytes) for volume in self._volumes.values())

    def put(self, volume: Volume) -> None:
        """Keep a volume, as the most recently used."""
        self._volumes[volume.id] = volume
        self._volumes.move_to_end(volume.id)

    def take(self, volume_id: str) -> Volume | None:
        """Return a volume, which is kept no longer; None where it is not here."""
        return self._volumes.pop(volume_id, None)

    def drop_oldest(self) -> str:
        """Let the least recently used go, and return its id."""
        return self._volumes.popitem(last=False)[0]

    def clear(self) -> None:
        """Let all go."""
        self._volumes.clear()
