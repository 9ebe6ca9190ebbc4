"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from render.dicom.tasks import CardReport
from render.engine import Engine
from render.errors import DeviceError
from render.place import OnCard, Place
from render.stream.registry import SessionRegistry
from render.v1 import frame_pb2

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counters of one server, in a registry of their own.

    Parameters
    ----------
    engine
        Asked for the state of its cache at each scrape.
    sessions
        Counted at each scrape; this becomes their observer.
    """

    def __init__(self, engine: Engine, sessions: SessionRegistry) -> None:
        self._registry = CollectorRegistry()
        self._frames = Counter(
            "voxelcast_frames", "Frames sent on streams", ("quality", "encoding"), registry=self._registry
        )
        self._bytes = Counter("voxelcast_frame_bytes", "Payload bytes sent on streams", registry=self._registry)
        self._render = Histogram(
            "voxelcast_render_seconds",
            "Rendering of frames sent on streams",
            ("quality",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._encode = Histogram(
            "voxelcast_encode_seconds",
            "Encoding of frames sent on streams",
            ("encoding",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._errors = Counter("voxelcast_errors", "Errors told on streams", ("reason",), registry=self._registry)
        self._answers = Histogram(
            "voxelcast_rendered_seconds",
            "Answers over DICOMweb, loads and waiting included",
            ("resource", "status"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._kinds: dict[tuple[int, int], tuple[Counter, Histogram, Histogram]] = {}
        self._calls = Histogram(
            "voxelcast_grpc_seconds",
            "gRPC calls that have ended, loads and waiting included; of StreamFrames, whole sessions",
            ("method", "status"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_State(engine, sessions))
        sessions.observer = self

    def frame_sent(self, header: frame_pb2.FrameHeader) -> None:
        """Note a frame that was handed over whole."""
        kind = header.quality, header.encoding
        if kind not in self._kinds:
            self._kinds[kind] = self._kind(*kind)
        frames, rendering, encoding = self._kinds[kind]
        frames.inc()
        rendering.observe(header.timings.render_ms / 1e3)
        encoding.observe(header.timings.encode_ms / 1e3)

    def _kind(
        self, quality: frame_pb2.FrameQuality, encoding: frame_pb2.FrameEncoding
    ) -> tuple[Counter, Histogram, Histogram]:
        """Return what counts the frames of a kind; kept, for looking it up takes longer than to count."""
        of_quality = frame_pb2.FrameQuality.Name(quality).removeprefix("FRAME_QUALITY_").lower()
        of_encoding = frame_pb2.FrameEncoding.Name(encoding).removeprefix("FRAME_ENCODING_").lower()
        return (
            self._frames.labels(of_quality, of_encoding),
            self._render.labels(of_quality),
            self._encode.labels(of_encoding),
        )

    def bytes_sent(self, count: int) -> None:
        """Note bytes of frames that were handed over."""
        self._bytes.inc(count)

    def error(self, reason: str) -> None:
        """Note an error that was told to a client."""
        self._errors.labels(reason).inc()

    def answered(self, resource: str, status: int, seconds: float) -> None:
        """Note an answer over DICOMweb, good or bad."""
        self._answers.labels(resource, str(status)).observe(seconds)

    def called(self, method: str, status: str, seconds: float) -> None:
        """Note a gRPC call that has ended, well or badly."""
        self._calls.labels(method, status).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, engine: Engine, sessions: SessionRegistry) -> None:
        self._engine = engine
        self._sessions = sessions

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("voxelcast_sessions", "Streams that are connected", self._sessions.count)
        cache = self._engine.status().cache
        for place in self._engine.cache.places:
            renderer: Any = place.renderer
            lanes = getattr(renderer, "simd_lanes", None)
            if lanes is not None:  # a renderer on the host's cores
                text = "Rays that one vector of a core holds; 1 where kernels are scalar"
                family = GaugeMetricFamily("voxelcast_simd_lanes", text, labels=("device", "kernels"))
                family.add_metric((place.name, renderer.kernel_set), lanes)
                yield family
        choice = self._engine.choice
        if choice is not None:
            text = "What renders, what was asked for, and why it is that"
            family = GaugeMetricFamily("voxelcast_device_info", text, labels=("device", "asked", "reason"))
            family.add_metric((cache.device, choice.asked, choice.reason), 1)
            yield family
        yield from _cards(self._engine.cache.places)
        ingest = self._engine.catalog.ingest
        if ingest and ingest.card is not None:
            yield _decoding(ingest.card, ingest.on_card)
        for name, text in (
            ("resident", "held by a card for us; on a CPU, taken by resident volumes, loads and uploads"),
            ("pinned", "that can't be evicted"),
            ("budget", "there are for volumes"),
        ):
            family = GaugeMetricFamily(f"voxelcast_{name}_bytes", f"Bytes {text}", labels=("device",))
            for status in cache.places:
                family.add_metric((status.device,), getattr(status, f"{name}_bytes"))
            yield family
        if cache.host_budget_bytes is not None:
            text = "Bytes of the host's memory for volumes on cards and those that have left them: taken, and there are"
            family = GaugeMetricFamily("voxelcast_host_memory_bytes", text, labels=("kind",))
            family.add_metric(("taken",), cache.host_bytes)
            family.add_metric(("budget",), cache.host_budget_bytes)
            yield family
        volumes = GaugeMetricFamily("voxelcast_volumes", "Volumes in the cache", labels=("device", "state"))
        for status in cache.places:
            for state in ("loading", "resident"):
                count = sum(e.state.value == state and e.device == status.device for e in cache.entries)
                volumes.add_metric((status.device, state), count)
        if cache.host_budget_bytes is not None:
            volumes.add_metric(("host", "kept"), len(cache.kept))
        yield volumes


def _cards(places: Iterable[Place]) -> Iterable[Metric]:
    """Say which cards work, and what their drivers and pools say of their memory: it may differ from the budget."""
    lost = GaugeMetricFamily("voxelcast_device_lost", "1 once the card does nothing any more", labels=("device",))
    text = "Bytes of the card: free and total by its driver, used by volumes and frames, held by the pool besides"
    memory = GaugeMetricFamily("voxelcast_device_memory_bytes", text, labels=("device", "kind"))
    encoders = GaugeMetricFamily(
        "voxelcast_encoder_info", "What encodes pictures on the card, or why nothing does", labels=("device", "encoder")
    )
    cards = [place for place in places if isinstance(place.renderer, OnCard)]
    for place in cards:
        lost.add_metric((place.name,), place.lost is not None)
        if encoder := getattr(place.renderer, "encoder", ""):
            encoders.add_metric((place.name, encoder), 1)
        try:
            assert isinstance(place.renderer, OnCard)
            state = place.renderer.memory()
        except DeviceError:  # it is lost, if nobody has noticed yet
            continue
        for kind in ("free", "total", "used", "held"):
            memory.add_metric((place.name, kind), getattr(state, kind))
    if cards:
        yield lost
        yield memory
        yield encoders


def _decoding(card: int, report: CardReport) -> Metric:
    """Say what decodes compressed pixels on a card, and what the CPU decodes instead, with the reason."""
    text = "What decodes on the card (its reason is empty), and what is decoded on the CPU instead"
    family = GaugeMetricFamily("voxelcast_decoder_info", text, labels=("device", "decoder", "reason"))
    if report.decoder:
        family.add_metric((f"cuda:{card}", report.decoder, ""), 1)
    for fallback in report.fallbacks:
        family.add_metric((f"cuda:{card}", "CPU", fallback), 1)
    return family
