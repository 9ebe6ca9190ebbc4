"""Hypothesis drives the protocol: any order of input, renders, sends, acknowledgements, waits and reconnects."""

from __future__ import annotations

import math
from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from render.errors import InvalidArgumentError
from render.service.convert.views import view_from_proto
from render.stream.contract import DescribeVolume, OpenVolume, ReleaseVolume
from render.stream.protocol import LIST_INTERVAL_S
from render.stream.view_state import RenderJob
from render.v1 import frame_pb2, stream_pb2
from tests.stream.harness import Harness, _message, rendered

VIEWS = ("a", "b", "c")
VOLUMES = ("vol", "other")


class Machine(RuleBasedStateMachine):
    """A client and a link beside the protocol, which know only what crosses the wire."""

    @initialize(bytes_per_s=st.sampled_from((2e4, 2.5e6, 1e8)))
    def begin(self, bytes_per_s: float) -> None:
        self.harness = Harness()
        self.harness.hello()
        self.harness.protocol.link.bytes_per_s = bytes_per_s
        self.revisions = dict.fromkeys(VIEWS, 0)
        self.shown: set[str] = set()
        self.visible = True
        self.watching = False  # another session sets the views
        self.volume_revision = 1
        self.volumes: set[str] = set()
        self.opening: set[str] = set()
        self.jobs: list[RenderJob] = []
        self.listed_at = -math.inf
        self.fresh_link()

    def fresh_link(self) -> None:
        self.arrived: deque[frame_pb2.FrameHeader] = deque()
        self.unacknowledged: dict[str, list[int]] = {view: [] for view in VIEWS}
        self.last_sequence = dict.fromkeys(VIEWS, 0)
        self.last_revision = dict.fromkeys(VIEWS, 0)
        self.chunks: dict[str, tuple[int, int]] = {}
        self.painted: dict[str, frame_pb2.FrameHeader] = {}
        self.widest = 0
        self.pings = 0  # not answered yet
        self.wants_list = False
        self.told: set[str] = set()  # of the views that the driver has set

    # What the client does.

    @rule(view=st.sampled_from(VIEWS), step=st.integers(1, 3))
    def set_view(self, view: str, step: int, volume: str = "vol") -> None:
        self.revisions[view] += step
        self.shown.add(view)
        if self.watching:
            message = _message(volume, view == "c", 256)
            self.harness.protocol.mirror(view, view_from_proto(message), self.revisions[view], message)
            return
        self.harness.set_view(view, self.revisions[view], volume, color=view == "c", size_px=256)

    @rule(seldom=st.integers(0, 15), view=st.sampled_from(VIEWS), sequence=st.integers(0, 2**32 - 1))
    def do_something_unusual(self, seldom: int, view: str, sequence: int) -> None:
        """Each for itself as likely as a whole rule, they would leave no run undisturbed."""
        match seldom:
            case 0:
                self.close_view(view)
            case 1 | 2:
                self.set_visibility(not self.visible)
            case 3:
                self.reconnect()
            case 4:
                self.set_view(view, 1, "other")
            case 5 if view in self.shown and not self.watching:
                self.harness.set_view(view, sequence % (self.revisions[view] + 1))
            case 6:
                self.acknowledge_what_never_came(view, sequence)
            case 7:
                self.slices_come()
            case 8:
                self.watching = not self.watching
                self.harness.protocol.sharing(stream_pb2.Sharing(driving=not self.watching))
            case 9:
                self.pings += 1
                self.harness.receive(ping=stream_pb2.Ping())
            case 10:
                self.wants_list = True
                self.harness.receive(list_volumes=stream_pb2.ListVolumes())

    def close_view(self, view: str) -> None:
        self.shown.discard(view)
        self.painted.pop(view, None)
        self.unacknowledged[view].clear()
        self.chunks.pop(view, None)
        if self.watching:
            self.harness.protocol.mirror_closed(view)
        else:
            self.told.discard(view)
            self.harness.receive(close_view=stream_pb2.CloseView(view_id=view))

    def set_visibility(self, visible: bool) -> None:
        self.visible = visible
        self.harness.set_visible(visible)

    @precondition(lambda self: self.arrived)
    @rule(late=st.integers(0, 3))
    def acknowledge(self, late: int) -> None:
        """Paint and acknowledge, not always in order: pictures are decoded at different speeds."""
        index = min(late, len(self.arrived) - 1)
        header = self.arrived[index]
        del self.arrived[index]
        if header.view_id in self.shown:
            before = self.painted.get(header.view_id)
            if before is None or header.sequence > before.sequence:
                self.painted[header.view_id] = header
            waiting = self.unacknowledged[header.view_id]
            waiting[:] = [sequence for sequence in waiting if sequence > header.sequence]
        self.harness.acknowledge(header)

    def acknowledge_what_never_came(self, view: str, sequence: int) -> None:
        if sequence > self.last_sequence[view]:
            # Cumulative: covers all that was sent, which an honest client would not claim.
            self.unacknowledged[view].clear()
            self.harness.receive(acknowledge=stream_pb2.Acknowledge(view_id=view, sequence=sequence))

    def reconnect(self) -> None:
        self.harness.saved["resume"] = self.harness.protocol.saved()
        self.harness.protocol.disconnected()
        self.harness.connect()
        self.jobs.clear()
        self.opening.clear()
        self.volumes.clear()
        self.fresh_link()
        self.visible = True
        self.watching = False
        self.listed_at = -math.inf
        welcome = self.harness.hello(resume_token="resume")
        assert welcome.epoch == self.harness.protocol.epoch > 1

    # What the server does.

    def slices_come(self) -> None:
        self.volume_revision += 1
        for volume_id in sorted(self.volumes):
            self.harness.protocol.volume_opened(volume_id, self.volume_revision)

    @rule(seconds=st.sampled_from((0.001, 0.02, 0.16, 0.16, 0.5, 2.0)))
    def wait(self, seconds: float) -> None:
        self.harness.clock.now += seconds
        self.harness.protocol.tick()

    @rule(opening_fails=st.sampled_from((False,) * 9 + (True,)))
    def serve(self, opening_fails: bool = False) -> None:
        """Do what the protocol asks for, but end no job."""
        self.act()
        opening, self.opening = self.opening, set()
        for volume_id in sorted(opening):
            if opening_fails:
                self.harness.protocol.volume_failed(volume_id, "BUDGET_EXCEEDED", "too large")
            else:
                self.volumes.add(volume_id)
                self.harness.protocol.volume_opened(volume_id, self.volume_revision)
        self.start_jobs()

    def start_jobs(self) -> None:
        while True:
            before = {view.view_id: view.credit_used for view in self.harness.protocol.views}
            job = self.harness.protocol.next_job()
            if job is None:
                return
            assert self.visible, "rendered for a hidden client"
            assert job.view_revision == self.revisions[job.view_id], "an old revision"
            running = sum(1 for other in self.jobs if other.view_id == job.view_id and not other.cancelled)
            assert running == 0, "two frames of one view at a time"
            window = self.harness.protocol.link.window
            assert len(self.unacknowledged[job.view_id]) + 1 <= window, "no credit"
            assert before[job.view_id] + 1 <= window
            self.widest = max(self.widest, window)
            painted = self.painted.get(job.view_id)
            if painted is not None and painted.quality == frame_pb2.FRAME_QUALITY_FINAL:
                revisions = painted.view_revision, painted.volume_revision
                assert revisions < (job.view_revision, self.volume_revision), "once more what is painted"
            self.jobs.append(job)

    @precondition(lambda self: self.jobs)
    @rule(
        index=st.integers(0, 3),
        size=st.sampled_from((1, 3_000, 40_000, 3_000_000)),
        missing=st.sampled_from((0, 0, 0, 0, 0, 2)),
        fails=st.sampled_from((False,) * 9 + (True,)),
    )
    def end_job(self, index: int, size: int, missing: int, fails: bool) -> None:
        job = self.jobs.pop(min(index, len(self.jobs) - 1))
        protocol = self.harness.protocol
        if fails:
            protocol.job_done(job, InvalidArgumentError("no"), "INVALID_ARGUMENT", "no")
            return
        if job.picture is not None:
            protocol.frame_ready(job, rendered(job, min(size, 40_000), lossless=False))
        if job.lossless is not None:
            frame = rendered(job, size, missing_slices=missing, volume_revision=self.volume_revision)
            protocol.frame_ready(job, frame)
        protocol.job_done(job)

    @rule(ends=st.integers(0, 2), size=st.sampled_from((3_000, 3_000_000)), sends=st.integers(0, 3))
    def work(self, ends: int, size: int, sends: int) -> None:
        """Go some of the ordinary way: alone, the small steps seldom add up to it."""
        self.serve()
        for _ in range(min(ends, len(self.jobs))):
            self.end_job(0, size, 0, False)
        self.serve()
        self.send(sends)

    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        for _ in range(count):
            message = self.harness.protocol.next_message()
            if message is None:
                return
            if isinstance(message, stream_pb2.FrameMessage):
                self.deliver(message.header)
            else:
                self.hear(message)

    def hear(self, message: stream_pb2.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "pong":
                self.pings -= 1
                assert self.pings >= 0, "nobody had asked"
            case "volume_list":
                assert self.wants_list, "nobody had asked"
                assert self.harness.clock.now >= self.listed_at + LIST_INTERVAL_S, "too soon"
                self.wants_list, self.listed_at = False, self.harness.clock.now
            case "view_set":
                assert message.view_set.view_id in self.shown, "of a closed view"
                self.told.add(message.view_set.view_id)
            case "view_closed":
                assert message.view_closed.view_id not in self.shown, "of an open view"
                self.told.discard(message.view_closed.view_id)

    def deliver(self, header: frame_pb2.FrameHeader) -> None:
        view = header.view_id
        assert self.visible, "sent to a hidden client"
        assert view in self.shown, "sent of a closed view"
        assert header.epoch == self.harness.protocol.epoch
        assert header.view_revision >= self.last_revision[view], "back a revision"
        assert header.view_revision <= self.revisions[view]
        self.last_revision[view] = header.view_revision
        if header.chunk_index == 0:
            assert header.sequence > self.last_sequence[view], "back a frame"
            self.last_sequence[view] = header.sequence
        else:
            assert self.chunks[view] == (header.sequence, header.chunk_index - 1), "chunks of a frame in order"
        self.chunks[view] = header.sequence, header.chunk_index
        if header.chunk_index + 1 == header.chunk_count:
            self.arrived.append(header)
            self.unacknowledged[view].append(header.sequence)
            assert len(self.unacknowledged[view]) <= self.widest, "over credit"

    def act(self) -> None:
        for action in self.harness.protocol.take_actions():
            match action:
                case OpenVolume(volume_id):
                    assert volume_id not in self.volumes | self.opening
                    self.opening.add(volume_id)
                case ReleaseVolume(volume_id):
                    assert volume_id in self.volumes | self.opening
                    self.opening.discard(volume_id)
                    self.volumes.discard(volume_id)
                case DescribeVolume(volume_id):
                    assert volume_id in self.volumes
                case other:
                    raise AssertionError(f"an honest client is not closed: {other}")

    @invariant()
    def bytes_on_their_way_are_counted(self) -> None:
        if hasattr(self, "harness"):
            protocol = self.harness.protocol
            counted = sum(shipment.size for view in protocol.views for shipment, _ in view.in_flight.values())
            assert protocol.link.in_flight_bytes == counted

    def teardown(self) -> None:
        """Let the user rest and everything work: whatever happened, the last thing painted is the final frame."""
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        self.set_visibility(True)
        for state in harness.protocol.views:
            if state.failed:  # is tried again by input only
                self.set_view(state.view_id, 1)
        self.slices_come()
        for _ in range(200):
            self.serve()
            while self.jobs:
                self.end_job(0, 100_000, 0, False)
            self.send(100)
            while self.arrived:
                self.acknowledge(0)
            deadline = harness.protocol.next_deadline()
            if harness.protocol.is_settled and deadline is None and harness.protocol.is_idle:
                break
            if deadline is not None:
                assert deadline > harness.clock.now
                harness.clock.now = deadline
        assert harness.protocol.is_settled
        assert harness.protocol.next_deadline() is None, "a settled session asks for nothing"
        assert harness.protocol.next_job() is None
        assert harness.protocol.next_message() is None
        assert self.pings == 0, "a ping without an answer"
        assert not self.wants_list, "a list that never came"
        assert self.told <= self.shown, "a watched view was closed in silence"
        for view in self.shown:
            header = self.painted[view]
            assert header.quality == frame_pb2.FRAME_QUALITY_FINAL
            assert header.lossless
            assert (header.view_revision, header.volume_revision) == (self.revisions[view], self.volume_revision)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
