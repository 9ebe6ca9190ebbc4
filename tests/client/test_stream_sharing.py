"""The client's stream without I/O, where a session is shared: one drives, others watch."""

from __future__ import annotations

import pytest

from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import ClientMessage, ServerMessage, Sharing, ViewClosed, ViewSet
from tests.client.fake_service import sharing, stream_error, welcome
from tests.client.stream_messages import acknowledged, frames, sent, view
from voxelcast import InvalidArgumentError
from voxelcast.stream_state import StreamState


def view_set(revision: int, slab_mm: float, view_id: str = "theirs") -> StreamFramesResponse:
    told = ViewSet(view_id=view_id, revision=revision, view=view(slab_mm))
    return StreamFramesResponse(message=ServerMessage(view_set=told))


def kinds(messages: list[ClientMessage]) -> list[str | None]:
    return [message.WhichOneof("message") for message in messages]


def test_who_watches_shows_what_the_driver_sets_and_sets_nothing() -> None:
    state = StreamState("test")
    state.watch("secret")
    assert kinds(sent(state)) == ["hello", "watch"]
    state.receive(welcome(resume_token="r"))
    assert state.is_watching
    assert not state.is_settled, "there is nothing to see yet"
    assert state.settled_frame("theirs") is None
    state.receive(sharing(driving=False))
    state.receive(view_set(7, 1))
    assert state.views == {"theirs": view(1)}
    for part in frames(1, 7, view_id="theirs"):
        state.receive(part)
    assert state.take() is not None
    assert state.is_settled
    assert acknowledged(state) == [1]
    with pytest.raises(InvalidArgumentError, match="drive"):
        state.show("mine", view(2))
    state.receive(view_set(8, 2))
    assert not state.is_settled
    closed = ViewClosed(view_id="theirs")
    state.receive(StreamFramesResponse(message=ServerMessage(view_closed=closed)))
    assert state.views == {}


def test_who_takes_the_wheel_goes_on_from_the_drivers_revision() -> None:
    state = StreamState("test")
    state.watch("secret")
    sent(state)
    state.receive(welcome(resume_token="r"))
    state.receive(sharing(driving=False))
    state.receive(view_set(7, 1))
    state.drive()
    assert kinds(sent(state)) == ["drive"]
    assert state.is_watching, "until the server says so"
    state.receive(sharing(driving=True))
    assert state.show("theirs", view(2)) == 8
    # Somebody else takes the wheel before it was sent.
    state.receive(sharing(driving=False))
    assert sent(state) == []
    # What was on its way at that moment is refused, which is no news.
    state.receive(stream_error("INVALID_ARGUMENT", "this session watches", "theirs", 8))
    assert state.take() is None


@pytest.mark.parametrize("driving", [True, False])
def test_a_restarted_server_is_asked_again_by_who_watches_only(driving: bool) -> None:
    state = StreamState("test")
    state.show("mine", view(1))
    sent(state)
    state.receive(welcome(resume_token="r"))
    state.receive(sharing(driving=driving, share_id="secret"))
    state.reconnect()
    assert kinds(sent(state)) == ["hello"]
    state.receive(welcome(epoch=1, resume_token="s"))
    assert kinds(sent(state)) == (["set_view"] if driving else ["watch"])
    assert state.is_watching is not driving


@pytest.mark.parametrize("driving", [True, False])
def test_a_session_that_was_taken_up_takes_part_again_by_itself(driving: bool) -> None:
    state = StreamState("test")
    state.show("mine", view(1))
    sent(state)
    state.receive(welcome(resume_token="r"))
    state.receive(sharing(driving=driving))
    state.reconnect()
    sent(state)
    state.receive(welcome(epoch=2, resume_token="s"))
    assert kinds(sent(state)) == (["set_view"] if driving else [])
    assert state.is_watching is not driving


def test_a_watch_that_the_server_never_heard_of_is_sent_again() -> None:
    state = StreamState("test")
    state.receive(welcome(resume_token="r"))
    state.watch("secret")
    state.reconnect()
    assert kinds(sent(state)) == ["hello"]
    state.receive(welcome(epoch=2, resume_token="s"))
    assert kinds(sent(state)) == ["watch"]


def test_an_id_of_nothing_is_an_error_and_the_stream_goes_on() -> None:
    state = StreamState("test")
    state.watch("secret")
    sent(state)
    state.receive(welcome(resume_token="r"))
    state.receive(stream_error("INVALID_ARGUMENT", "nothing is shared under it", "", 0))
    with pytest.raises(InvalidArgumentError, match="nothing is shared"):
        state.take("main")
    assert state.show("main", view(1)) == 1


@pytest.mark.parametrize("driving", [True, False])
def test_once_it_has_ended_the_stream_sets_its_own_views_again(driving: bool) -> None:
    state = StreamState("test")
    state.watch("secret")
    sent(state)
    state.receive(welcome(resume_token="r"))
    state.receive(sharing(driving=driving))
    state.receive(view_set(7, 1))
    state.receive(StreamFramesResponse(message=ServerMessage(sharing=Sharing(driving=True))))
    assert state.sharing is None
    assert not state.is_watching
    assert state.show("theirs", view(2)) == 8
    assert kinds(sent(state)) == ["set_view"]
    # And a server that comes back is not asked for it again.
    state.reconnect()
    sent(state)
    state.receive(welcome(epoch=1, resume_token="s"))
    assert kinds(sent(state)) == ["set_view"]
