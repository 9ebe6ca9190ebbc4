"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from render.engine import Engine
from render.errors import DeviceError
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
        self._registry.register(_State(engine, sessions))
        sessions.observer = self

    def frame_sent(self, header: frame_pb2.FrameHeader) -> None:
        """Note a frame that was handed over whole."""
        quality = frame_pb2.FrameQuality.Name(header.quality).removeprefix("FRAME_QUALITY_").lower()
        encoding = frame_pb2.FrameEncoding.Name(header.encoding).removeprefix("FRAME_ENCODING_").lower()
        self._frames.labels(quality, encoding).inc()
        self._render.labels(quality).observe(header.timings.render_ms / 1e3)
        self._encode.labels(encoding).observe(header.timings.encode_ms / 1e3)

    def bytes_sent(self, count: int) -> None:
        """Note bytes of frames that were handed over."""
        self._bytes.inc(count)

    def error(self, reason: str) -> None:
        """Note an error that was told to a client."""
        self._errors.labels(reason).inc()

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
        renderer: Any = self._engine.renderer
        lanes = getattr(renderer, "simd_lanes", None)
        if lanes is not None:  # a renderer on the host's cores
            text = "Rays that one vector of a core holds; 1 where kernels are scalar"
            family = GaugeMetricFamily("voxelcast_simd_lanes", text, labels=("device", "kernels"))
            family.add_metric((cache.device, renderer.kernel_set), lanes)
            yield family
        choice = self._engine.choice
        if choice is not None:
            text = "What renders, what was asked for, and why it is that"
            family = GaugeMetricFamily("voxelcast_device_info", text, labels=("device", "asked", "reason"))
            family.add_metric((cache.device, choice.asked, choice.reason), 1)
            yield family
        if hasattr(renderer, "lost"):  # a renderer on a card
            yield from _card(cache.device, renderer)
        for name, text, value in (
            ("resident", "taken by resident volumes, loads and uploads", cache.resident_bytes),
            ("pinned", "that can't be evicted", cache.pinned_bytes),
            ("budget", "there are for volumes", cache.budget_bytes),
        ):
            family = GaugeMetricFamily(f"voxelcast_{name}_bytes", f"Bytes {text}", labels=("device",))
            family.add_metric((cache.device,), value)
            yield family
        volumes = GaugeMetricFamily("voxelcast_volumes", "Volumes in the cache", labels=("device", "state"))
        for state in ("loading", "resident"):
            count = sum(entry.state.value == state for entry in cache.entries)
            volumes.add_metric((cache.device, state), count)
        yield volumes


def _card(device: str, renderer: Any) -> Iterable[Metric]:
    """Say whether a card works, and what its driver and the pool say of its memory: they may differ from the budget."""
    lost = GaugeMetricFamily("voxelcast_device_lost", "1 once the card does nothing any more", labels=("device",))
    lost.add_metric((device,), renderer.lost is not None)
    yield lost
    try:
        state = renderer.memory()
    except DeviceError:  # it is lost, if nobody has noticed yet
        return
    text = "Bytes of the card: free and total by its driver, used by volumes and frames, held by the pool besides"
    memory = GaugeMetricFamily("voxelcast_device_memory_bytes", text, labels=("device", "kind"))
    for kind in ("free", "total", "used", "held"):
        memory.add_metric((device, kind), getattr(state, kind))
    yield memory
