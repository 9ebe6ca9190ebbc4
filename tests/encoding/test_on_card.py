"""Encoders of a card behind one interface: what each is asked, and what becomes of what it answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest

from render.encoding.on_card import CardPicture, NvimgcodecEncoder, PynvjpegEncoder, open_encoder
from render.errors import DeviceEncoderError

GRAY, COLOR = (5, 7, 1), (5, 7, 3)


class FakeNvimgcodec:
    """The names of nvImageCodec that are used, and a record of what was asked."""

    __version__ = "0.9.0"
    BackendKind = SimpleNamespace(GPU_ONLY="gpu", HYBRID_CPU_GPU="hybrid", HW_GPU_ONLY="hardware")
    ChromaSubsampling = SimpleNamespace(CSS_GRAY="gray", CSS_444="444", CSS_420="420")
    QualityType = SimpleNamespace(QUALITY="quality")

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def Backend(self, kind: str) -> str:  # noqa: N802
        return kind

    def EncodeParams(self, **given: Any) -> dict[str, Any]:  # noqa: N802
        return given

    def Encoder(self, **given: Any) -> Any:  # noqa: N802
        self.asked.append(given)
        return self

    def encode(self, picture: Any, codec: str, *, params: Any, cuda_stream: int) -> Any:
        self.asked.append({"picture": picture, "codec": codec, "stream": cuda_stream, **params})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def picture(shape: tuple[int, int, int] = COLOR) -> CardPicture:
    pixels = np.arange(np.prod(shape), dtype=np.uint8)
    return CardPicture(4096, shape, 77, lambda: pixels)


def importing(**modules: Any) -> Any:
    def load(name: str) -> Any:
        found = modules.get(name.rpartition(".")[2], ImportError(f"No module named {name!r}"))
        if isinstance(found, Exception):
            raise found
        return found

    return load


@pytest.mark.parametrize(
    ("shape", "quality", "chroma"), [(GRAY, 95, "gray"), (COLOR, 95, "444"), (COLOR, 90, "444"), (COLOR, 89, "420")]
)
def test_nvimagecodec_is_asked_for_what_the_cpu_would_make(shape, quality, chroma) -> None:
    library = FakeNvimgcodec(memoryview(b"jpeg"))
    encoder = NvimgcodecEncoder(2, importing(nvimgcodec=library))
    given = picture(shape)
    assert encoder.jpeg(given, quality) == b"jpeg"
    made, asked = library.asked
    assert made["device_id"] == 2
    assert made["backends"] == ["gpu", "hybrid", "hardware"]
    assert asked == {
        "picture": given,
        "codec": "jpeg",
        "stream": 77,
        "quality_type": "quality",
        "quality_value": float(quality),
        "chroma_subsampling": chroma,
    }
    assert encoder.name == "nvImageCodec 0.9.0"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "nvImageCodec 0.9.0 gave no JPEG of 7 x 5 x 3"),
        (b"", "gave no JPEG"),
        (RuntimeError("nvjpeg error #8\nat cuda_encoder.cpp"), "nvImageCodec 0.9.0 failed: nvjpeg error #8$"),
        (RuntimeError(), "failed: RuntimeError"),
    ],
)
def test_no_answer_is_an_error(answer, said) -> None:
    encoder = NvimgcodecEncoder(0, importing(nvimgcodec=FakeNvimgcodec(answer)))
    with pytest.raises(DeviceEncoderError, match=said):
        encoder.jpeg(picture(), 90)


def test_a_picture_tells_where_it_lies() -> None:
    told = picture(GRAY).__cuda_array_interface__
    assert told["data"] == (4096, False)
    assert told["shape"] == GRAY
    assert (told["typestr"], told["version"], told["stream"]) == ("|u1", 3, 77)
    assert CardPicture(1, GRAY, 0, lambda: np.empty(0, np.uint8)).__cuda_array_interface__["stream"] == 1


class FakeNvJpeg:
    answer: bytes = b"jpeg"

    def encode(self, pixels: np.ndarray, quality: int) -> bytes:
        self.pixels, self.quality = pixels, quality
        return self.answer


@pytest.mark.parametrize("shape", [GRAY, COLOR])
def test_pynvjpeg_gets_blue_green_and_red_from_the_host(shape) -> None:
    fake = FakeNvJpeg()
    encoder = PynvjpegEncoder(0, importing(nvjpeg=SimpleNamespace(NvJpeg=lambda: fake)))
    given = picture(shape)
    assert encoder.jpeg(given, 80) == b"jpeg"
    pixels = given.fetch().reshape(shape)
    assert fake.quality == 80
    assert fake.pixels.shape == (5, 7, 3)
    assert fake.pixels.flags.c_contiguous
    for channel in range(3):
        np.testing.assert_array_equal(fake.pixels[..., channel], pixels[..., min(2 - channel, shape[2] - 1)])
    fake.answer = b""
    with pytest.raises(DeviceEncoderError, match="gave no JPEG of 7 x 5"):
        encoder.jpeg(given, 80)


def test_pynvjpeg_is_of_the_first_card_alone() -> None:
    with pytest.raises(DeviceEncoderError, match="not on cuda:1"):
        PynvjpegEncoder(1, importing(nvjpeg=SimpleNamespace(NvJpeg=FakeNvJpeg)))


def test_pynvjpeg_stands_in_where_nvimagecodec_is_missing() -> None:
    nvjpeg = SimpleNamespace(NvJpeg=FakeNvJpeg)
    assert open_encoder(0, importing(nvjpeg=nvjpeg)).name == "pynvjpeg"
    both = importing(nvjpeg=nvjpeg, nvimgcodec=FakeNvimgcodec(b""))
    assert open_encoder(0, both).name == "nvImageCodec 0.9.0"


def test_what_is_missing_is_said_of_the_one_that_is_recommended() -> None:
    with pytest.raises(DeviceEncoderError, match=r"nvImageCodec is not installed: pip install 'voxelcast\[cuda\]'"):
        open_encoder(0, importing())
    broken = FakeNvimgcodec(b"")
    broken.Encoder = lambda **given: (_ for _ in ()).throw(RuntimeError("Could not create encoder. Code: 8"))  # type: ignore[method-assign]
    with pytest.raises(DeviceEncoderError, match="makes no encoder on cuda:3: Could not create encoder"):
        open_encoder(3, importing(nvimgcodec=broken))


@pytest.mark.parametrize("shape", [(60, 83, 1), (60, 83, 3)])
@pytest.mark.parametrize("quality", [75, 95])
def test_the_installed_nvimagecodec_takes_these_parameters(shape, quality) -> None:
    """Its encoder for the CPU takes the same parameters: no card is needed to see that they mean what they should."""
    library = pytest.importorskip("nvidia.nvimgcodec")
    encoder = object.__new__(NvimgcodecEncoder)
    encoder._library, encoder.name = library, "nvImageCodec"
    encoder._encoder = library.Encoder(device_id=library.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1)
    row, column = np.indices(shape[:2])
    pixels = np.stack([40 + 2 * column, 200 - 3 * row, 60 + row + column][: shape[2]], axis=-1).astype(np.uint8)
    made = encoder._encoder.encode(pixels, "jpeg", params=encoder.parameters(shape[2], quality), cuda_stream=0)
    payload = bytes(made)
    decoded = imagecodecs.jpeg8_decode(payload).reshape(shape)
    assert np.abs(decoded.astype(int) - pixels).max() < 16
    assert made.num_channels == shape[2]
    assert made.chroma_subsampling == encoder.parameters(shape[2], quality).chroma_subsampling
