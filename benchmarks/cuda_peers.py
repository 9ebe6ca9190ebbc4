"""What else draws such pictures on a card: CuPy's `affine_transform` for planes, PyTorch's `grid_sample` for MIPs.

Both get the same rays and samples as ours and their volume beforehand, and are timed on the card alone; what they draw
is compared with what we draw, where both are within the volume.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cuda_card import Card, view_at, work_of
from benchmarks.cuda_sections import CudaPlan
from benchmarks.subjects import Subject
from render.backends.cuda.parameters import FramePlan, plan_frame
from render.backends.cuda.resident import CudaVolume
from render.frame import FINAL

SAMPLES_AT_ONCE = 1 << 25
"""Of `grid_sample`, whose coordinates take 12 bytes a sample."""


class MissingPeerError(Exception):
    """Why a peer does not take part, in one line."""


def peers(card: Card, subject: Subject, resident: CudaVolume, plan: CudaPlan) -> list[dict[str, Any]]:
    """Measure both peers beside ours at every size; one that can't be had gives its reason."""
    result = []
    for name, measure in (("cupyx affine_transform", _affine_transform), ("torch grid_sample", _grid_sample)):
        for side_px in plan.sides_px:
            try:
                result.append({"peer": name, "side_px": side_px, **measure(card, subject, resident, side_px, plan)})
            except MissingPeerError as missing:
                result.append({"peer": name, "side_px": side_px, "skipped": str(missing)})
    return result


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # more than ImportError where a library does not fit the driver
        raise MissingPeerError(f"{name} can't be imported: {type(error).__name__}") from error


def _needs_card(card: Card) -> None:
    if card.clock.name != "events":
        raise MissingPeerError("no card: the kernels run on the host")


def _affine_transform(
    card: Card, subject: Subject, resident: CudaVolume, side_px: int, plan: CudaPlan
) -> dict[str, Any]:
    cupy, ndimage = _module("cupy"), _module("cupyx.scipy.ndimage")
    _needs_card(card)
    work = work_of("thin_mpr")
    view = view_at(subject, work, 0, side_px)
    matrix, offset = plane_transform(plan_frame(view, subject.volume, has_invalid=False, quality=FINAL))
    # It would make float32 of int16 in each call.
    volume, on_card = cupy.asarray(subject.volume.codes, cupy.float32), cupy.asarray(matrix)
    out = cupy.empty((1, side_px, side_px), cupy.float32)
    cupy.cuda.runtime.deviceSynchronize()

    def draw() -> None:
        ndimage.affine_transform(
            volume, on_card, offset, out.shape, out, order=1, mode="constant", cval=np.nan, prefilter=False
        )

    theirs_ms = _card_ms(cupy, draw, plan.repeats)
    frame = card.exact.render(view, {subject.volume.id: resident})
    assert frame.values is not None
    off = _median_difference(frame.values, cupy.asnumpy(out)[0] * subject.volume.slope + subject.volume.intercept)
    return _against(card, view, resident, theirs_ms, off, "exact", plan)


def _grid_sample(card: Card, subject: Subject, resident: CudaVolume, side_px: int, plan: CudaPlan) -> dict[str, Any]:
    torch = _module("torch")
    _needs_card(card)
    if not torch.cuda.is_available():
        raise MissingPeerError("this PyTorch has no CUDA")
    work = work_of("mip")
    view = view_at(subject, work, 0, side_px)
    frame_plan = plan_frame(view, subject.volume, has_invalid=False, quality=FINAL)
    codes = torch.from_numpy(subject.volume.codes).cuda().float()[None, None]
    least = codes.min()
    codes -= least  # beyond the volume it gives 0, which must not be the greatest
    block, samples = frame_plan.parameters, sample_numbers(frame_plan)
    size = torch.tensor(block["size"], device="cuda", dtype=torch.float32)
    # Voxel i of n lies at 2 i / (n - 1) - 1 (align_corners).
    origin, column, row, step = (
        torch.tensor(block[name], device="cuda", dtype=torch.float32) * 2 / (size - 1)
        for name in ("origin", "column", "row", "step")
    )
    pixels = torch.arange(side_px, device="cuda", dtype=torch.float32)
    plane = origin - 1 + pixels[:, None, None] * row + pixels[None, :, None] * column
    at_once = max(1, SAMPLES_AT_ONCE // side_px**2)
    best = None

    def draw() -> None:
        nonlocal best
        best = torch.zeros((side_px, side_px), device="cuda")
        for first in range(samples.start, samples.stop, at_once):
            numbers = torch.arange(first, min(first + at_once, samples.stop), device="cuda", dtype=torch.float32)
            points = plane[None] + numbers[:, None, None, None] * step
            values = torch.nn.functional.grid_sample(codes, points[None], align_corners=True, padding_mode="zeros")
            best = torch.maximum(best, values[0, 0].amax(dim=0))

    theirs_ms = _torch_ms(torch, draw, max(1, plan.repeats // 3))
    frame = card.exact.render(view, {subject.volume.id: resident})
    assert frame.values is not None
    assert best is not None
    theirs = (best + least).cpu().numpy() * subject.volume.slope + subject.volume.intercept
    # Half a voxel at the faces is held by us, and fades to nothing with padding.
    off = _median_difference(frame.values, theirs)
    return _against(card, view, resident, theirs_ms, off, "texture", plan)


def plane_transform(plan: FramePlan) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the matrix (3, 3) and offset (3,) from ``(0, row, column)`` to a voxel's index ``(k, j, i)``."""
    block = plan.parameters
    matrix = np.zeros((3, 3))
    matrix[:, 1], matrix[:, 2] = block["row"][::-1], block["column"][::-1]
    return matrix, block["origin"][::-1].copy()


def sample_numbers(plan: FramePlan) -> range:
    """Return the numbers k of all samples of any ray that may lie in the volume."""
    block = plan.parameters
    step = block["step"]
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in block["size"])), axis=-1).reshape(-1, 3)
    pixels = [(0, 0), (0, plan.shape_px[1]), (plan.shape_px[0], 0), plan.shape_px]
    starts = [block["origin"] + r * block["row"] + c * block["column"] for r, c in pixels]
    along = [(corners - start) @ step / (step @ step) for start in starts]
    return range(int(np.floor(np.min(along))), int(np.ceil(np.max(along))) + 1)


def _against(
    card: Card, view: Any, resident: CudaVolume, theirs_ms: float, off: float, sampling: str, plan: CudaPlan
) -> dict[str, Any]:
    ours_ms, _ = card.draw_ms(view, resident, sampling, plan.repeats)
    return {
        "ours_ms": round(ours_ms, 4),
        "ours_sampling": sampling,
        "theirs_ms": round(theirs_ms, 4),
        "ratio": round(theirs_ms / ours_ms, 2),
        "median_difference": round(off, 4),
    }


def _median_difference(ours: npt.NDArray[np.float32], theirs: npt.NDArray[Any]) -> float:
    """Return the median absolute difference where both have a value; NaN if they have none in common."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    return float(np.median(np.abs(ours - theirs)[both])) if both.any() else float("nan")


def _card_ms(cupy: Any, draw: Any, repeats: int) -> float:
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        draw()
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        for _ in range(repeats):
            draw()
        end.record(stream)
        end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end)) / repeats


def _torch_ms(torch: Any, draw: Any, repeats: int) -> float:
    draw()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        draw()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / repeats
