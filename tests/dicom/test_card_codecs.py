"""A card's decoder is believed of what it decodes as the CPU does, and of nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from render.backends.cuda.probe import probe
from render.dicom import card_codecs
from render.dicom import ingest as module
from render.dicom.card_codecs import CHECKED_EVERY, CardDecoder, decoded, open_decoder
from render.dicom.ingest import CARD_WORKERS, Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.dicom.tasks import CardReport
from render.errors import DeviceError
from render.web.metrics import _decoding
from tests.dicom.synthetic import write_series

SLICE = np.arange(48, dtype=np.uint16).reshape(6, 8) * 37


class Calls:
    """Decoders that count themselves; the card's answer can be changed."""

    def __init__(self, answer: Any = None) -> None:
        self.on_cpu = self.on_card = 0
        self.answer = answer

    def cpu(self, source: bytes) -> np.ndarray:
        self.on_cpu += 1
        return SLICE

    def card(self, source: bytes) -> np.ndarray | None:
        self.on_card += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return SLICE if self.answer is None else self.answer


def test_the_first_is_decoded_by_both_and_then_the_card_is_believed() -> None:
    calls = Calls()
    decoder = CardDecoder(calls.card)
    for _ in range(10):
        np.testing.assert_array_equal(decoder.decode(JPEG2000Lossless, b"x", calls.cpu), SLICE)
    assert (calls.on_card, calls.on_cpu) == (10, 1)


def test_each_kind_is_tried_on_its_own() -> None:
    calls = Calls()
    decoder = CardDecoder(calls.card)
    for syntax in (JPEG2000Lossless, HTJ2KLossless, JPEGBaseline8Bit):
        for _ in range(3):
            decoder.decode(syntax, b"x", calls.cpu)
    assert calls.on_cpu == 3
    calls.answer = SLICE.astype(np.uint8)  # samples of a kind that it has not shown yet, and which the CPU has not
    np.testing.assert_array_equal(decoder.decode(HTJ2KLossless, b"x", calls.cpu), SLICE)
    assert calls.on_cpu == 4
    calls.answer = None
    decoder.decode(HTJ2KLossless, b"x", calls.cpu)
    assert calls.on_cpu == 5  # given up


@pytest.mark.parametrize(
    "answer",
    [SLICE + 1, SLICE.astype(np.int16), SLICE[:-1], ValueError("cudaErrorUnknown"), np.float32(SLICE)],
    ids=["a code off", "another type", "a row short", "an error", "float"],
)
def test_what_differs_is_the_cpus_from_then_on(answer) -> None:
    calls = Calls(answer)
    decoder = CardDecoder(calls.card)
    for _ in range(5):
        assert decoder.decode(JPEG2000Lossless, b"x", calls.cpu) is SLICE
    assert (calls.on_card, calls.on_cpu) == (1, 5)


def test_no_answer_is_the_cpus_to_explain() -> None:
    decoder = CardDecoder(lambda source: None)

    def refusing(source: bytes) -> np.ndarray:
        raise ValueError("truncated codestream")

    with pytest.raises(ValueError, match="truncated"):
        decoder.decode(JPEG2000Lossless, b"x", refusing)


def test_one_that_goes_wrong_later_is_found_out() -> None:
    calls = Calls()
    decoder = CardDecoder(calls.card)
    decoder.decode(JPEG2000Lossless, b"x", calls.cpu)
    calls.answer = SLICE + 1
    results = [decoder.decode(JPEG2000Lossless, b"x", calls.cpu) for _ in range(2 * CHECKED_EVERY)]
    assert calls.on_card == 1 + CHECKED_EVERY
    for result in results[CHECKED_EVERY - 1 :]:
        np.testing.assert_array_equal(result, SLICE)


def test_a_syntax_that_is_none_of_the_cards_is_not_tried() -> None:
    calls = Calls()
    CardDecoder(calls.card).decode(JPEGLSLossless, b"x", calls.cpu)
    assert (calls.on_card, calls.on_cpu) == (0, 1)


def test_a_process_without_a_card_decodes_as_before() -> None:
    assert card_codecs._decoder is None
    calls = Calls()
    assert card_codecs.decode(JPEG2000Lossless, b"x", calls.cpu) is SLICE


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
@pytest.mark.parametrize("is_right", [True, False])
def test_a_series_is_the_same_with_a_card_as_without(tmp_path, monkeypatch, syntax, is_right) -> None:
    """Through pydicom's plugin: the card gets the codestreams, and a wrong card changes nothing."""
    stored = np.random.default_rng(2).integers(0, 4000, (5, 24, 20)).astype(np.uint16)
    write_series(tmp_path, stored, transfer_syntax=syntax)
    plan = select(scan(tmp_path))
    plain = load_volume(plan)
    calls = Calls()

    def card(source: bytes) -> np.ndarray:
        calls.on_card += 1
        return imagecodecs.jpeg2k_decode(source) + (0 if is_right else 1)

    monkeypatch.setattr(card_codecs, "_decoder", CardDecoder(card))
    np.testing.assert_array_equal(load_volume(plan).codes, plain.codes)
    if is_right:
        assert calls.on_card == 5
        return
    assert calls.on_card >= 1  # slices that are decoded at the same time may each have asked before the first verdict
    asked = calls.on_card
    np.testing.assert_array_equal(load_volume(plan).codes, plain.codes)
    assert calls.on_card == asked


class FakeNvimgcodec:
    """The names of nvImageCodec that are used."""

    __version__ = "0.9.0"
    BackendKind = SimpleNamespace(GPU_ONLY="gpu", HYBRID_CPU_GPU="hybrid", HW_GPU_ONLY="hardware")
    ColorSpec = SimpleNamespace(UNCHANGED="unchanged")

    def __init__(self, pixels: np.ndarray | None) -> None:
        self.pixels = pixels
        self.asked: list[Any] = []

    def Backend(self, kind: str) -> str:  # noqa: N802
        return kind

    def DecodeParams(self, **given: Any) -> dict[str, Any]:  # noqa: N802
        return given

    def CodeStream(self, source: bytes) -> bytes:  # noqa: N802
        return source

    def Decoder(self, **given: Any) -> Any:  # noqa: N802
        self.asked.append(given)
        return self

    def decode(self, source: bytes, *, params: Any) -> Any:
        self.asked.append((source, params))
        return None if self.pixels is None else SimpleNamespace(cpu=lambda: self.pixels)


def test_nvimagecodec_is_asked_for_what_is_stored() -> None:
    library = FakeNvimgcodec(SLICE[..., None])
    decoder = open_decoder(3, lambda name: library)
    assert decoder.name == "nvImageCodec 0.9.0"
    np.testing.assert_array_equal(decoder.decode(JPEG2000Lossless, b"j2k", lambda source: SLICE), SLICE)
    assert library.asked[0]["device_id"] == 3
    source, parameters = library.asked[1]
    assert source == b"j2k"
    assert parameters == {"apply_exif_orientation": False, "allow_any_depth": True, "color_spec": "unchanged"}
    colour = FakeNvimgcodec(np.zeros((4, 5, 3), np.uint8))
    assert decoded(colour, colour, b"x").shape == (4, 5, 3)
    nothing = FakeNvimgcodec(None)
    assert decoded(nothing, nothing, b"x") is None


def test_what_is_not_installed_or_makes_no_decoder_says_so() -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    def refusing(**given: Any) -> Any:
        raise RuntimeError("CUDA failure '35'\nat a line")

    with pytest.raises(DeviceError, match="nvImageCodec is not installed"):
        open_decoder(0, missing)
    broken = SimpleNamespace(BackendKind=FakeNvimgcodec.BackendKind, Backend=str, Decoder=refusing)
    with pytest.raises(DeviceError, match=r"makes no decoder on cuda:2: CUDA failure '35'$"):
        open_decoder(2, lambda name: broken)


def test_the_installed_nvimagecodec_has_the_names_that_are_used() -> None:
    """Without a card it makes no decoder and decodes nothing, by an answer that counts as none."""
    library = pytest.importorskip("nvidia.nvimgcodec")
    decoder = library.Decoder(device_id=library.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1)
    source = bytes(imagecodecs.jpeg8_encode(SLICE.astype(np.uint8), 95))
    assert library.CodeStream(source).width == SLICE.shape[1]
    if not probe().cards:
        assert decoded(library, decoder, source) is None
        with pytest.raises(DeviceError, match="makes no decoder on cuda:0"):
            open_decoder(0)


def test_at_most_so_many_workers_take_the_card(monkeypatch) -> None:
    started: list[int | None] = []

    class Worker:
        def __init__(self, memory_bytes: int, card: int | None) -> None:
            self.card = card
            started.append(card)

        def kill(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(module, "WorkerProcess", Worker)
    with Ingest(4, card=1) as ingest:
        for _ in range(4):
            ingest._start()
    assert started == [1] * CARD_WORKERS + [None] * (4 - CARD_WORKERS)


def test_what_is_given_up_is_reported() -> None:
    for answer, did in ((SLICE + 1, "decodes it otherwise"), (ValueError("no"), "decodes nothing of it")):
        calls = Calls(answer)
        decoder = CardDecoder(calls.card, "a decoder")
        for _ in range(3):
            decoder.decode(JPEG2000Lossless, b"x", calls.cpu)
        said = f"JPEG 2000 Image Compression (Lossless Only) is decoded on the CPU: a decoder {did}"
        assert decoder.fallbacks == [said]


def test_what_workers_fall_back_to_is_said_once_and_told_in_the_metrics(monkeypatch, caplog) -> None:
    reports = iter(
        [
            CardReport("nvImageCodec 0.9.0", ()),
            CardReport("nvImageCodec 0.9.0", ("JPEG 2000 is decoded on the CPU: it is", "HTJ2K too")),
            CardReport("nvImageCodec 0.9.0", ("HTJ2K too",)),  # of another worker
        ]
    )

    class Worker:
        def __init__(self, memory_bytes: int, card: int | None) -> None:
            self.card = card

        def call(self, task: Any, descriptor: Any, seconds: float) -> object:
            self.on_card = next(reports)
            return "done"

        def kill(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(module, "WorkerProcess", Worker)
    with Ingest(1, card=1) as ingest:
        assert [ingest._call(object()) for _ in range(3)] == ["done"] * 3
        fallbacks = ("JPEG 2000 is decoded on the CPU: it is", "HTJ2K too")
        assert ingest.on_card == CardReport("nvImageCodec 0.9.0", fallbacks)
        assert [record.message for record in caplog.records] == [f"cuda:1: {said}" for said in fallbacks]
        family = _decoding(1, ingest.on_card)
    assert [(sample.labels["decoder"], sample.labels["reason"]) for sample in family.samples] == [
        ("nvImageCodec 0.9.0", ""),
        ("CPU", fallbacks[0]),
        ("CPU", fallbacks[1]),
    ]


def test_a_worker_whose_card_can_t_be_had_decodes_all_the_same(small_series, caplog) -> None:
    with Ingest(1, card=0) as ingest:
        volume = ingest.load(select(ingest.scan(small_series)))
        if not probe().cards:
            (said,) = ingest.on_card.fallbacks
            assert said.startswith("compressed pixels are decoded on the CPU: nvImageCodec ")
            assert [record.message for record in caplog.records] == [f"cuda:0: {said}"]
    with Ingest(1) as ingest:
        plain = ingest.load(select(ingest.scan(small_series)))
    np.testing.assert_array_equal(volume.codes, plain.codes)
