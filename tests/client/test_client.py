"""The synchronous client against a server that behaves, and one that does not."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render import errors as server_errors
from render.errors import VoxelcastError as ServerError
from render.service.convert.views import view_from_proto, view_to_proto
from tests.client.fake_service import VOLUME_ID, FakeService, ramp_color, ramp_values, serving
from voxelcast import (
    AmbiguousSeriesError,
    BudgetExceededError,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    LoadProgress,
    NotFoundError,
    ProtocolError,
    SourceError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    View,
    VoxelcastError,
    convert,
    errors,
)


def server_view(view: View) -> Any:
    """Return a view as the server understands it."""
    return view_from_proto(convert.view_to_proto(view))


def test_a_picture_in_five_lines(client: Client) -> None:
    volume = client.open("head")
    picture = volume.render(View.axial(volume))
    np.testing.assert_array_equal(picture, ramp_values(server_view(View.axial(volume))))
    np.testing.assert_array_equal(volume.render(), picture)


def test_every_encoding(client: Client) -> None:
    volume = client.open("head")
    view = volume.coronal(size_px=(40, 30))
    exact = ramp_values(server_view(view))
    np.testing.assert_array_equal(volume.render(view, encoding="values"), exact)
    for encoding in ("uint16", "deflate"):
        np.testing.assert_allclose(volume.render(view, encoding=encoding), exact, atol=1 / 16)
    frame = volume.render_frame(view)
    np.testing.assert_array_equal(volume.render(view, encoding="png"), frame.gray8())
    assert volume.render(view, encoding="jpeg", jpeg_quality=50).shape == (30, 40)
    color = volume.volume_rendering("CT-Bone", size_px=(40, 30))
    for encoding in ("values", "deflate"):
        np.testing.assert_array_equal(volume.render(color, encoding=encoding), ramp_color(server_view(color)))
    with pytest.raises(InvalidArgumentError, match="not for a volume rendering"):
        volume.render(color, encoding="uint16")
    with pytest.raises(InvalidArgumentError, match="one of values"):
        volume.render(color, encoding="tiff")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="jpeg_quality 0"):
        volume.render(view, encoding="jpeg", jpeg_quality=0)


def test_bytes_are_what_travelled(client: Client) -> None:
    volume = client.open("head")
    view = volume.axial(size_px=(20, 10))
    assert volume.render_bytes(view).startswith(b"\xff\xd8")
    assert volume.render_bytes(view, encoding="png").startswith(b"\x89PNG")
    raw = np.frombuffer(volume.render_bytes(view, encoding="values"), "<f4").reshape(10, 20)
    np.testing.assert_array_equal(raw, ramp_values(server_view(view)))
    codes = np.frombuffer(volume.render_bytes(view, encoding="uint16"), "<u2").reshape(10, 20)
    assert (codes[:, 0] == 0xFFFF).all()


def test_a_large_picture_comes_in_chunks(client: Client) -> None:
    volume = client.open("head")
    view = volume.axial(size_px=(1500, 1100))
    np.testing.assert_array_equal(volume.render(view), ramp_values(server_view(view)))


def test_views_arrive_whole(client: Client) -> None:
    """What the server understands, and echoes, is every part of what was meant."""
    volume = client.open("head")
    view = (
        volume.volume_rendering("CT-Bone")
        .with_window(50, 300, "sigmoid")
        .with_slab(30)
        .flipped(vertical=True)
        .perspective(40)
    )
    theirs = server_view(view)
    assert convert.view_from_proto(view_to_proto(theirs)) == view


def test_opening_reports_progress_and_describes(client: Client, service: FakeService) -> None:
    steps: list[LoadProgress] = []
    volume = client.open("head", series=3, volume_index=1, progress=steps.append)
    assert [step.done for step in steps] == [0, 10, 20]
    assert service.open_requests[-1].series == "3"
    assert service.open_requests[-1].volume_index == 1
    assert volume.id == VOLUME_ID
    assert volume.shape == (20, 48, 64)
    assert volume.geometry.spacing_mm == (1, 1, 2)
    assert volume.values_range == (-1000, 3000)
    assert volume.units == "HU"
    assert volume.description.voxel_type == "int16"
    assert volume.description.warnings == ("spacing varies",)
    assert volume.default_window is not None
    assert volume.default_window.center == 40
    assert repr(volume) == "<Volume CT ramp: 64 x 48 x 20 voxels of 1 x 1 x 2 mm>"
    acquisition = volume.initial_views["acquisition"]
    np.testing.assert_array_equal(volume.render(acquisition), ramp_values(server_view(acquisition)))
    volume.refresh()
    assert volume.description.revision == 2


def test_a_path_may_be_a_path(client: Client, service: FakeService) -> None:
    client.open(Path("head"))
    assert service.open_requests[-1].path == "head"
    with pytest.raises(TypeError, match="not int"):
        client.open(123)  # type: ignore[arg-type]


def test_a_list_waits_until_the_folders_are_read(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "SCAN_INTERVAL_S", 0.001)
    service.listed = [0, 1, 2]
    assert len(client.volumes()) == 2
    assert service.listed == []
    service.listed = [1, 2]
    assert len(client.volumes(wait=False)) == 1
    service.listed = [1] * 10_000
    with pytest.raises(
        DeadlineExceededError, match=r"after 0.05 s, with 1 volumes found so far; volumes\(wait=False\)"
    ):
        client.volumes(timeout_s=0.05)


def test_a_listed_volume_opens_by_its_id(client: Client, service: FakeService) -> None:
    (summary,) = client.volumes()
    assert (summary.path, summary.shape, summary.series_number, summary.residency) == (
        "head",
        (20, 48, 64),
        3,
        "resident",
    )
    client.open(summary)
    assert service.open_requests[-1].volume_id == VOLUME_ID
    with pytest.raises(InvalidArgumentError, match="a path below a served root"):
        client.open("")
    with pytest.raises(InvalidArgumentError, match="volume_index -1"):
        client.open("head", volume_index=-1)


def test_status(client: Client) -> None:
    status = client.status()
    assert status.devices[0].budget_bytes == 1000
    assert status.volumes[0].pinned_by == ("grpc lease 1",)
    assert status.presets == ("CT-Bone",)


def test_a_lease_is_named_renewed_and_released(client: Client, service: FakeService) -> None:
    with client.open("head") as volume:
        lease_id = volume.lease_id
        volume.render(volume.axial(size_px=(8, 8)))
        assert service.used_leases == [lease_id]
        service.leases.clear()  # as if it had not been used for too long
        volume.render(volume.axial(size_px=(8, 8)))
        assert volume.lease_id != lease_id
        assert service.open_requests[-1].volume_id == VOLUME_ID
    assert service.leases == {}
    assert volume.lease_id == ""
    volume.release()
    volume.render(volume.axial(size_px=(8, 8)))
    assert service.used_leases[-1] == ""


def test_a_volume_that_nobody_has_any_more_makes_room_for_the_next(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    kept = client.open("head")
    released, dropped = kept.lease_id, volume.lease_id
    kept.release()
    del volume, kept
    gc.collect()
    assert set(service.leases) == {dropped}
    volume = client.open("head")
    assert set(service.leases) == {volume.lease_id}
    assert volume.lease_id not in (dropped, released)
    del volume
    gc.collect()
    service.leases.clear()  # ended meanwhile
    uploaded = client.upload(np.zeros((2, 3, 4), np.int16), spacing_mm=(1, 1, 1))
    assert set(service.leases) == {uploaded.lease_id}


def test_releasing_what_has_ended_is_no_error(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    service.leases.clear()
    volume.release()


def test_a_view_of_another_volume_is_refused(client: Client) -> None:
    volume = client.open("head")
    view = volume.axial().of(replace(volume.description, id="other"))
    with pytest.raises(InvalidArgumentError, match="a view of volume other, not of 0123456789abcdef"):
        volume.render(view)
    with pytest.raises(InvalidArgumentError, match="without layers"):
        volume.render(replace(view, layers=()))
    with pytest.raises(InvalidArgumentError, match="view: "):
        volume.render(volume.axial(size_px=(-5, 5)).with_size(-5, 5))


CASES = [
    (server_errors.InvalidViewError("slab_mm -1", field="slab_mm"), InvalidArgumentError, {"field": "slab_mm"}),
    (server_errors.InvalidArgumentError("encoding 0", field="encoding"), InvalidArgumentError, {"field": "encoding"}),
    (server_errors.UnsupportedError("a clip box is not built yet"), UnsupportedError, {}),
    (server_errors.PathError("no such path"), NotFoundError, {}),
    (server_errors.VolumeNotFoundError("no volume 'x'"), NotFoundError, {}),
    (server_errors.LeaseNotFoundError("no such lease"), NotFoundError, {}),
    (server_errors.UnreadableFileError("truncated"), SourceError, {}),
    (server_errors.CodecError("no codec"), SourceError, {}),
    (server_errors.NoVolumeError("nothing there"), SourceError, {}),
    (server_errors.NotAVolumeError("spacing varies 2.0 to 5.0 mm"), SourceError, {}),
    (server_errors.AmbiguousSeriesError("2 candidates"), AmbiguousSeriesError, {}),
    (
        server_errors.BudgetExceededError("no room", needed_bytes=9, budget_bytes=8, pinned_bytes=7),
        BudgetExceededError,
        {"needed_bytes": "9", "budget_bytes": "8", "pinned_bytes": "7"},
    ),
    (server_errors.UnauthenticatedError("a token is needed"), UnauthenticatedError, {}),
    (server_errors.DrainingError("shutting down"), UnavailableError, {}),
    (ServerError("internal error"), errors.ServerError, {}),
]


@pytest.mark.parametrize(("raised", "expected", "figures"), CASES, ids=[type(case[0]).__name__ for case in CASES])
def test_errors_map(
    client: Client,
    service: FakeService,
    raised: ServerError,
    expected: type[VoxelcastError],
    figures: dict[str, str],
) -> None:
    service.error = raised
    for call in (
        client.status,
        lambda: client.open("head"),
        lambda: client.upload(np.zeros((1, 2, 3)), spacing_mm=(1, 1, 1)),
    ):
        with pytest.raises(VoxelcastError) as caught:
            call()
        assert type(caught.value) is expected
        assert str(caught.value) == raised.message
        assert caught.value.reason == raised.reason
        assert caught.value.figures == figures


def test_a_plane_is_rendered_by_its_name(client: Client) -> None:
    volume = client.open("head")
    for given, view in (("axial", volume.axial()), ("coronal", volume.coronal()), ("l", volume.sagittal())):
        np.testing.assert_array_equal(volume.render(given), ramp_values(server_view(view)))
    with pytest.raises(InvalidArgumentError, match="orientation 'front': one of a p r l h f axial coronal sagittal"):
        volume.render("front")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a View is needed, not 20\.0"):
        volume.render(20.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a View is needed, not 'axial'"):
        client.render_frame("axial")  # type: ignore[arg-type]


def test_candidates_are_listed(client: Client, service: FakeService) -> None:
    service.error = server_errors.AmbiguousSeriesError("2 candidates", candidates="CT 1\nPT 2")
    with pytest.raises(AmbiguousSeriesError) as caught:
        client.open("head")
    assert caught.value.candidates == ["CT 1", "PT 2"]
    assert str(caught.value) == "2 candidates\n  CT 1\n  PT 2"


def test_every_reason_of_the_server_is_known() -> None:
    kinds = [kind for kind in vars(server_errors).values() if isinstance(kind, type) and issubclass(kind, ServerError)]
    unknown = {kind.reason for kind in kinds} - set(errors._BY_REASON)
    assert unknown == {"INTERNAL", "STARTUP"}


def test_errors_are_also_pythons_own() -> None:
    for kind, base in (
        (InvalidArgumentError, ValueError),
        (NotFoundError, LookupError),
        (UnsupportedError, NotImplementedError),
        (UnauthenticatedError, PermissionError),
        (UnavailableError, ConnectionError),
        (DeadlineExceededError, TimeoutError),
    ):
        assert issubclass(kind, base)
        assert issubclass(kind, VoxelcastError)
        assert str(kind("one line")) == "one line"


def test_nobody_there() -> None:
    with serving(FakeService()) as address:
        pass
    with Client(address) as client, pytest.raises(UnavailableError, match=f"no connection to {address}"):
        client.status()


def test_a_deadline_ends_the_call_on_both_sides(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    service.gate.clear()
    with pytest.raises(DeadlineExceededError):
        volume.render(timeout_s=0.3)
    assert service.cancelled.wait(20)
    service.gate.set()
    assert volume.render(volume.axial(size_px=(8, 8))).shape == (8, 8)


def test_a_callback_that_raises_cancels_the_call(client: Client, service: FakeService) -> None:
    class StopError(Exception):
        pass

    def stop(progress: LoadProgress) -> None:
        raise StopError

    with pytest.raises(StopError):
        client.open("head", progress=stop)
    assert client.open("head").id == VOLUME_ID


def test_one_client_serves_several_threads(client: Client) -> None:
    volume = client.open("head")
    pictures: dict[float, np.ndarray] = {}

    def render(z: float) -> None:
        pictures[z] = volume.render(volume.axial(z, size_px=(32, 32)))

    threads = [threading.Thread(target=render, args=(float(z),)) for z in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for z, picture in pictures.items():
        np.testing.assert_array_equal(picture, ramp_values(server_view(volume.axial(z, size_px=(32, 32)))))
    assert len(pictures) == 6


def test_the_token_goes_with_every_call(address: str, service: FakeService) -> None:
    with Client(address, token="a-secret-token") as client:
        volume = client.open("head")
        assert service.metadata["authorization"] == "Bearer a-secret-token"
        with volume.stream() as stream:
            stream.settle()
        assert service.metadata["authorization"] == "Bearer a-secret-token"
        assert service.received[0].hello.token == "a-secret-token"
        assert "a-secret-token" not in repr(client) + repr(vars(client))
    with Client(address) as client:
        client.status()
        assert "authorization" not in service.metadata


def test_addresses_and_files_that_make_no_sense() -> None:
    with pytest.raises(InvalidArgumentError, match="host:port needed"):
        Client("http://localhost:50051")
    with pytest.raises(InvalidArgumentError, match="host:port needed"):
        Client("localhost")
    Client("viewer.example", tls=True).close()
    with pytest.raises(InvalidArgumentError, match="ca_file"):
        Client("localhost:50051", ca_file="/nowhere/ca.pem")
    with pytest.raises(InvalidArgumentError, match="printable ASCII"):
        Client("localhost:50051", token="a\nb")


def _flip_a_bit(header: Any, chunks: list[bytes]) -> tuple[Any, list[bytes]]:
    return header, [bytes([chunks[0][0] ^ 1]) + chunks[0][1:], *chunks[1:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_flip_a_bit, "CRC"),
        (lambda header, chunks: (header, []), "of 0 bytes"),
        (lambda header, chunks: (None, chunks), "a header first"),
        (lambda header, chunks: (None, []), "without a header"),
    ],
)
def test_answers_that_break_the_protocol(client: Client, service: FakeService, spoil: Any, message: str) -> None:
    volume = client.open("head")
    service.spoil = spoil
    with pytest.raises(ProtocolError, match=message):
        volume.render(volume.axial(size_px=(8, 8)))
    if "header" not in message:
        with pytest.raises(ProtocolError, match=message):
            volume.render_bytes(volume.axial(size_px=(8, 8)))
