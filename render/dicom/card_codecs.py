"""Decoding on an NVIDIA card by nvImageCodec, in a worker that has been told of one.

A card's decoder is believed only of what it has shown to decode as the CPU does: the first codestream of each kind (a
transfer syntax, a type of sample, a number of channels) is decoded by both, and so is one in `CHECKED_EVERY` later.
Where the two differ, or the card gives nothing, the CPU's result counts, and that kind is the CPU's from then on; the
worker reports it.
Lossless codestreams have one right answer; lossy ones are the card's only where it rounds as the CPU does.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from render.dicom.tasks import CardReport
from render.errors import DeviceError

Decode: TypeAlias = Callable[[bytes], npt.NDArray[Any]]
Import: TypeAlias = Callable[[str], Any]

SYNTAXES = frozenset({JPEGBaseline8Bit, JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
"""What nvJPEG and nvJPEG2000 are for; nvJPEG's lossless decoder knows fewer predictors than DICOM."""
CHECKED_EVERY = 64
"""Codestreams of a kind: one and a half percent of the CPU's work stays."""


class CardDecoder:
    """nvImageCodec's decoder beside the CPU's. Of one thread.

    Parameters
    ----------
    decode
        A codestream on the card; None if it gives nothing.
    name
        Of the decoder, with its version.

    Attributes
    ----------
    fallbacks
        What the CPU decodes instead, and why.
    """

    def __init__(self, decode: Callable[[bytes], npt.NDArray[Any] | None], name: str = "") -> None:
        self.name = name
        self.fallbacks: list[str] = []
        self._decode = decode
        self._believed: dict[object, set[object]] = {}
        self._given_up: set[object] = set()
        self._counts: Counter[object] = Counter()

    def decode(self, transfer_syntax: str, source: bytes, on_cpu: Decode) -> npt.NDArray[Any]:
        """Decode a codestream, by the CPU's decoder `on_cpu` where the card is not believed."""
        kind = transfer_syntax, on_cpu
        if transfer_syntax not in SYNTAXES or kind in self._given_up:
            return on_cpu(source)
        pixels = self._on_card(source)
        if pixels is not None and self._is_believed(kind, pixels):
            return pixels
        expected = np.asarray(on_cpu(source))
        if pixels is not None and _equal(pixels, expected):
            self._believed.setdefault(kind, set()).add(_sort_of(pixels))
        else:
            self._given_up.add(kind)
            did = "decodes nothing of it" if pixels is None else "decodes it otherwise"
            self.fallbacks.append(f"{UID(transfer_syntax).name} is decoded on the CPU: {self.name} {did}")
        return expected

    def _is_believed(self, kind: object, pixels: npt.NDArray[Any]) -> bool:
        if _sort_of(pixels) not in self._believed.get(kind, ()):
            return False
        self._counts[kind] += 1
        return self._counts[kind] % CHECKED_EVERY != 0

    def _on_card(self, source: bytes) -> npt.NDArray[Any] | None:
        try:
            return self._decode(source)
        except Exception:  # of whatever kind: the CPU says what is wrong with the codestream, if anything is
            return None


def open_decoder(device_index: int, import_module: Import = importlib.import_module) -> CardDecoder:
    """Return nvImageCodec's decoder on a card.

    Raises
    ------
    DeviceError
        If it is not installed, or makes none.
    """
    try:
        library = import_module("nvidia.nvimgcodec")
        kinds = library.BackendKind
        backends = [library.Backend(kind) for kind in (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU, kinds.HW_GPU_ONLY)]
        decoder = library.Decoder(device_id=device_index, max_num_cpu_threads=1, backends=backends)
        name = f"nvImageCodec {library.__version__}"
    except ImportError as error:
        raise DeviceError("nvImageCodec is not installed: pip install 'voxelcast[cuda]'") from error
    except Exception as error:  # its loader raises more where a driver or a library does not fit
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DeviceError(f"nvImageCodec makes no decoder on cuda:{device_index}: {said}") from error
    return CardDecoder(lambda source: decoded(library, decoder, source), name)


def decoded(library: Any, decoder: Any, source: bytes) -> npt.NDArray[Any] | None:
    """Return what nvImageCodec makes of a codestream, ``(H, W)`` or ``(H, W, C)``, as it is stored; None if nothing."""
    parameters = library.DecodeParams(
        apply_exif_orientation=False, allow_any_depth=True, color_spec=library.ColorSpec.UNCHANGED
    )
    image = decoder.decode(library.CodeStream(source), params=parameters)
    if image is None:
        return None
    pixels = np.array(image.cpu())
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


_decoder: CardDecoder | None = None
_why_not = ""


def use_card(device_index: int) -> None:
    """Let this process decode on a card, if it can."""
    global _decoder, _why_not
    try:
        _decoder = open_decoder(device_index)
    except DeviceError as error:
        _why_not = f"compressed pixels are decoded on the CPU: {error.message}"


def report() -> CardReport:
    """Return what has become of decoding on a card in this process."""
    if _decoder is None:
        return CardReport("", (_why_not,) if _why_not else ())
    return CardReport(_decoder.name, tuple(_decoder.fallbacks))


def decode(transfer_syntax: str, source: bytes, on_cpu: Decode) -> npt.NDArray[Any]:
    """Decode on the card that this process uses, if any and if it is believed; else by `on_cpu`."""
    if _decoder is None:
        return on_cpu(source)
    return _decoder.decode(transfer_syntax, source, on_cpu)


def _sort_of(pixels: npt.NDArray[Any]) -> object:
    return pixels.dtype, pixels.shape[2:]


def _equal(ours: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    return ours.dtype == expected.dtype and np.array_equal(ours, expected)
