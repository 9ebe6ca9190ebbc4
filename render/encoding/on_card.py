"""JPEG made on an NVIDIA card: nvImageCodec, or pynvjpeg where that is what is installed.

Neither is imported before it is asked for. An encoder is of one thread at a time, and is kept: making one costs tens of
milliseconds and memory of the card.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from render.encoding.pictures import CHROMA_QUALITY
from render.errors import DeviceEncoderError

Import = Callable[[str], Any]


@dataclass(frozen=True)
class CardPicture:
    """A picture in a card's memory, as ``__cuda_array_interface__`` tells of it.

    Attributes
    ----------
    address
        Of uint8, row by row without gaps.
    shape
        ``(H, W, C)``: gray (C = 1) or RGB (3).
    stream
        The handle of the CUDA stream that writes it.
    fetch
        Brings the same picture to the host, and waits for it.
    """

    address: int
    shape: tuple[int, int, int]
    stream: int
    fetch: Callable[[], npt.NDArray[np.uint8]]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        # Stream 0 is not allowed in version 3, since it could mean either default stream: 1 is the legacy one.
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream or 1,
        }


class CardEncoder(Protocol):
    """Makes JPEGs of pictures that lie in a card's memory."""

    @property
    def name(self) -> str:
        """Package and version."""

    def jpeg(self, picture: CardPicture, quality: int) -> bytes:
        """Encode as baseline JPEG, quality 1 to 100; chroma as `render.encoding.pictures.jpeg` keeps it. Blocks.

        Raises
        ------
        DeviceEncoderError
            If there is no result.
        """


class NvimgcodecEncoder:
    """nvImageCodec's encoder, on the card alone: what only a CPU could encode counts as a failure.

    Parameters
    ----------
    device_index
        Of the card.
    import_module
        Imports a module by name.

    Raises
    ------
    DeviceEncoderError
        If it is not installed, or makes no encoder.
    """

    def __init__(self, device_index: int, import_module: Import = importlib.import_module) -> None:
        try:
            self._library = import_module("nvidia.nvimgcodec")
            kinds = self._library.BackendKind
            backends = [
                self._library.Backend(kind) for kind in (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU, kinds.HW_GPU_ONLY)
            ]
            self._encoder = self._library.Encoder(device_id=device_index, max_num_cpu_threads=1, backends=backends)
        except Exception as error:
            # Its loader raises more than ImportError where the driver or nvJPEG does not fit.
            raise _missing("nvImageCodec", device_index, error) from error
        self.name = f"nvImageCodec {self._library.__version__}"

    def jpeg(self, picture: CardPicture, quality: int) -> bytes:
        """See `CardEncoder.jpeg`."""
        parameters = self.parameters(picture.shape[2], quality)
        try:
            made = self._encoder.encode(picture, "jpeg", params=parameters, cuda_stream=picture.stream)
            payload = b"" if made is None else bytes(made)
        except Exception as error:
            raise DeviceEncoderError(f"{self.name} failed: {_first_line(error)}") from error
        if not payload:
            rows, columns, channels = picture.shape
            raise DeviceEncoderError(f"{self.name} gave no JPEG of {columns} x {rows} x {channels}")
        return payload

    def parameters(self, channels: int, quality: int) -> Any:
        """Return nvImageCodec's parameters for a picture."""
        chroma = self._library.ChromaSubsampling
        if channels == 1:
            kept = chroma.CSS_GRAY
        else:
            kept = chroma.CSS_444 if quality >= CHROMA_QUALITY else chroma.CSS_420
        return self._library.EncodeParams(
            quality_type=self._library.QualityType.QUALITY, quality_value=float(quality), chroma_subsampling=kept
        )


class PynvjpegEncoder:
    """pynvjpeg's encoder, which takes its pictures from the host: eight bits a channel cross the bus, twice.

    Parameters
    ----------
    device_index
        Of the card; pynvjpeg knows the first one alone.
    import_module
        Imports a module by name.

    Raises
    ------
    DeviceEncoderError
        If it is not installed, or the card is another.
    """

    def __init__(self, device_index: int, import_module: Import = importlib.import_module) -> None:
        if device_index:
            raise DeviceEncoderError(f"pynvjpeg encodes on the first card alone, not on cuda:{device_index}")
        try:
            self._encoder = import_module("nvjpeg").NvJpeg()
        except Exception as error:
            raise _missing("pynvjpeg", device_index, error) from error
        self.name = "pynvjpeg"

    def jpeg(self, picture: CardPicture, quality: int) -> bytes:
        """See `CardEncoder.jpeg`; it takes blue, green and red, and always halves chroma."""
        rgb = np.broadcast_to(picture.fetch().reshape(picture.shape), (*picture.shape[:2], 3))
        try:
            payload = self._encoder.encode(np.ascontiguousarray(rgb[..., ::-1]), quality)
        except Exception as error:
            raise DeviceEncoderError(f"{self.name} failed: {_first_line(error)}") from error
        if not payload:
            raise DeviceEncoderError(f"{self.name} gave no JPEG of {picture.shape[1]} x {picture.shape[0]}")
        return bytes(payload)


def open_encoder(device_index: int, import_module: Import = importlib.import_module) -> CardEncoder:
    """Return a new encoder for a card.

    Raises
    ------
    DeviceEncoderError
        If there is none: why of the one that is recommended.
    """
    try:
        return NvimgcodecEncoder(device_index, import_module)
    except DeviceEncoderError:
        with contextlib.suppress(DeviceEncoderError):
            return PynvjpegEncoder(device_index, import_module)
        raise


def _missing(name: str, device_index: int, error: Exception) -> DeviceEncoderError:
    if isinstance(error, ImportError):
        said = "is not installed: pip install 'voxelcast[cuda]'"
    else:
        said = f"makes no encoder on cuda:{device_index}: {_first_line(error)}"
    return DeviceEncoderError(f"{name} {said}")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
