"""Where the demonstration torso's large parts lie: body wall, lungs, heart, abdominal organs.

LPS mm about the volume's centre: +x the patient's left, +y the back, +z the head. The measures are those of a
slim adult in a thoracic scan with raised arms; nothing here comes from a patient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.demo.shapes import Capsule, Ellipsoid, FloatArray, Layers, Point, profile, smooth_max, smooth_min


@dataclass(frozen=True)
class Points:
    """Where fields are evaluated: LPS mm, shaped to broadcast to (K, J, I); and what is known there already."""

    x: FloatArray
    y: FloatArray
    z: FloatArray
    known: dict[str, FloatArray] = field(default_factory=dict)


Field: TypeAlias = Callable[[Points], FloatArray]
"""Signed distance at points, mm, shape (K, J, I)."""


def shared(function: Field) -> Field:
    """Evaluate a field once at the same points: organs are cut from one another many times over."""

    @functools.wraps(function)
    def evaluated(p: Points) -> FloatArray:
        name = function.__name__
        if name not in p.known:
            p.known[name] = function(p)
        return p.known[name]

    return evaluated


# Half-widths and half-depths of the outer trunk and of the rib cage's inner surface, and their middles, by z.
BODY_WIDTH = profile([(-190, 150), (-120, 152), (-50, 160), (20, 163), (80, 158), (115, 138), (150, 82), (185, 58)])
BODY_DEPTH = profile([(-190, 104), (-100, 108), (-20, 114), (40, 112), (90, 100), (120, 88), (150, 76), (185, 68)])
BODY_MIDDLE = profile([(-190, 2), (0, 4), (90, 14), (130, 20), (190, 14)])
CAGE_WIDTH = profile([(-190, 122), (-100, 130), (-40, 131), (20, 126), (70, 112), (105, 88), (130, 62), (152, 36)])
CAGE_DEPTH = profile([(-190, 80), (-90, 90), (-20, 90), (30, 84), (75, 72), (105, 58), (130, 44), (152, 28)])
CAGE_MIDDLE = profile([(-190, -8), (-40, -6), (40, 0), (90, 10), (130, 20), (160, 22)])
SPINE_Y = profile([(-190, 36), (-120, 38), (-40, 48), (40, 54), (110, 48), (150, 36), (170, 27), (190, 20)], 16.0)
"""y of the vertebral bodies' middle."""
MEDIASTINUM_WIDTH = profile([(-190, 24), (0, 26), (60, 30), (100, 27), (150, 24)])
FAT_MM = profile([(-190, 17), (-100, 13), (0, 9), (80, 9), (140, 7)])

HEART_AXIS = np.array([0.68, -0.42, -0.60])
"""From the base to the apex: to the left, forward and down."""
HEART_AXIS /= np.linalg.norm(HEART_AXIS)


def _frame(axis: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Orthonormal columns, the first along `axis`."""
    second = np.cross(axis, [0.0, 0.0, 1.0])
    second /= np.linalg.norm(second)
    return np.stack([axis, second, np.cross(axis, second)], axis=1)


HEART_FRAME = _frame(HEART_AXIS)

ARM: tuple[Point, ...] = ((138.0, 30.0, 98.0), (134.0, 18.0, 140.0), (124.0, 4.0, 215.0))
"""Shoulder, upper arm and beyond the scan, left."""


def _ellipse(
    x: FloatArray, y: FloatArray, width: FloatArray | float, depth: FloatArray | float, power: float
) -> FloatArray:
    """First-order distance to a superellipse about 0."""
    u, v = np.abs(x) / width, np.abs(y) / depth
    total = u**power + v**power + np.float32(1e-6)
    norm = total ** np.float32(1 / power)
    slope = np.sqrt((u ** (power - 1) / width) ** 2 + (v ** (power - 1) / depth) ** 2)
    slope *= total ** np.float32(1 / power - 1)
    return np.asarray((norm - 1) / np.maximum(slope, np.float32(2e-3)), np.float32)


@shared
def body(p: Points) -> FloatArray:
    """Skin: trunk, neck and the roots of the raised arms."""
    x, y, z = p.x, p.y, p.z
    trunk = _ellipse(x, y - BODY_MIDDLE(z), BODY_WIDTH(z), BODY_DEPTH(z), 2.5)
    # A furrow along the spine, and the chest's breadth to either side of the breastbone.
    back = np.exp(-((x / 16) ** 2)) * np.clip(y / 60, 0, 1) * np.float32(5)
    front = np.exp(-((x / 14) ** 2)) * np.clip(-y / 60, 0, 1) * np.exp(-(((z - 20) / 70) ** 2)) * np.float32(3)
    mirrored = np.abs(x)
    breasts = np.exp(-(((mirrored - 68) / 42) ** 2) - ((z - 28) / 38) ** 2) * np.clip(-y / 60, 0, 1)
    trunk = np.asarray(trunk + back + front - breasts * np.float32(9), np.float32)
    arm = smooth_min(
        Capsule(ARM[0], ARM[1], 44, 43).distance(mirrored, y, z),
        Capsule(ARM[1], ARM[2], 43, 39).distance(mirrored, y, z),
        10,
    )
    blade = Ellipsoid((88, 78, 70), (44, 30, 70)).distance(mirrored, y, z)
    return smooth_min(smooth_min(trunk, blade, 30), arm, 34)


@shared
def muscle(p: Points) -> FloatArray:
    """Everything beneath the fat: thicker fat in front and at the flanks of the belly."""
    y, z = p.y, p.z
    thickness = FAT_MM(z) * (1 + np.float32(0.35) * np.clip(-y / 90, -1, 1)) + np.float32(2)
    return np.asarray(body(p) + thickness, np.float32)


@shared
def cage(p: Points) -> FloatArray:
    """Inner surface of ribs and abdominal wall."""
    x, y, z = p.x, p.y, p.z
    inner = _ellipse(x, y - CAGE_MIDDLE(z), CAGE_WIDTH(z), CAGE_DEPTH(z), 2.2)
    top = (z - np.float32(146)) * np.float32(0.8)
    column = np.sqrt((x / np.float32(1.25)) ** 2 + (y - SPINE_Y(z) - 6) ** 2) - np.float32(22)
    return smooth_max(smooth_max(inner, top, 14), np.asarray(-column, np.float32), 12)


def diaphragm(x: FloatArray, y: FloatArray) -> FloatArray:
    """Height z of the two domes."""
    right = -48 - 62 * (((x + 62) / 84) ** 2 + ((y + 2) / 88) ** 2)
    left = -62 - 62 * (((x - 66) / 80) ** 2 + ((y + 2) / 88) ** 2)
    return smooth_max(np.asarray(right, np.float32), np.asarray(left, np.float32), 14)


@shared
def heart(p: Points) -> FloatArray:
    """Outer surface with the roots of the atria."""
    x, y, z = p.x, p.y, p.z
    ventricles = Ellipsoid((27, -40, -32), (60, 40, 43), HEART_FRAME).distance(x, y, z)
    right_atrium = Ellipsoid((-27, -26, -20), (25, 27, 35)).distance(x, y, z)
    left_atrium = Ellipsoid((7, 4, 2), (37, 22, 24)).distance(x, y, z)
    return smooth_min(smooth_min(ventricles, right_atrium, 16), left_atrium, 14)


@shared
def left_ventricle(p: Points) -> FloatArray:
    """Its cavity."""
    x, y, z = p.x, p.y, p.z
    return Ellipsoid((36, -28, -30), (40, 20, 21), HEART_FRAME).distance(x, y, z)


@shared
def right_ventricle(p: Points) -> FloatArray:
    """Its cavity: a crescent in front of the left one's wall, up to the pulmonary outflow."""
    x, y, z = p.x, p.y, p.z
    outer = Ellipsoid((18, -54, -36), (44, 25, 31), HEART_FRAME).distance(x, y, z)
    outflow = Capsule((6, -62, -20), (15, -54, 14), 15, 12).distance(x, y, z)
    wall = left_ventricle(p) - np.float32(11)
    return smooth_max(smooth_max(smooth_min(outer, outflow, 12), -wall, 5), heart(p) + 4, 5)


@shared
def right_atrium(p: Points) -> FloatArray:
    """Its cavity, with the appendage."""
    x, y, z = p.x, p.y, p.z
    chamber = Ellipsoid((-26, -26, -20), (21, 22, 30)).distance(x, y, z)
    appendage = Capsule((-22, -40, 2), (-6, -56, 12), 12, 6).distance(x, y, z)
    return smooth_min(chamber, appendage, 10)


@shared
def left_atrium(p: Points) -> FloatArray:
    """Its cavity, with the appendage."""
    x, y, z = p.x, p.y, p.z
    chamber = Ellipsoid((7, 4, 2), (32, 18, 20)).distance(x, y, z)
    appendage = Capsule((32, -10, 8), (48, -32, 10), 9, 6).distance(x, y, z)
    return smooth_min(chamber, appendage, 8)


@shared
def mediastinum(p: Points) -> FloatArray:
    """Heart, great vessels and all else between the lungs."""
    x, y, z = p.x, p.y, p.z
    sac = heart(p) - np.float32(4)
    core = _ellipse(x - 2, y - 6, MEDIASTINUM_WIDTH(z), 62.0, 2.0)
    aorta = np.asarray(np.sqrt((x - 20) ** 2 + (y - 36) ** 2) - 17, np.float32)
    front = _ellipse(x + 2, y + 62, 9.0, 40.0, 2.0)
    return smooth_min(smooth_min(smooth_min(sac, core, 14), aorta, 8), front, 14)


@shared
def lungs(p: Points) -> FloatArray:
    """Both, with the fissures left out."""
    x, y, z = p.x, p.y, p.z
    room = cage(p) + np.float32(3)
    above = (diaphragm(x, y) + 3 - z) * np.float32(0.75)
    return smooth_max(smooth_max(room, above, 6), -mediastinum(p), 8)


@shared
def abdomen(p: Points) -> FloatArray:
    """Room beneath the diaphragm, within the abdominal wall."""
    x, y, z = p.x, p.y, p.z
    below = (z - diaphragm(x, y)) * np.float32(0.75) + 3
    return smooth_max(cage(p) + np.float32(4), below, 8)


@shared
def liver(p: Points) -> FloatArray:
    """Right lobe under the dome, left lobe across the midline."""
    x, y, z = p.x, p.y, p.z
    right = Ellipsoid((-66, -8, -108), (74, 88, 66)).distance(x, y, z)
    left = Ellipsoid((8, -52, -98), (66, 34, 30)).distance(x, y, z)
    kidney = Ellipsoid((-58, 52, -158), (38, 36, 60)).distance(x, y, z)
    whole = smooth_max(smooth_min(right, left, 26), abdomen(p) + 2, 10)
    return smooth_max(whole, -kidney, 10)


@shared
def spleen(p: Points) -> FloatArray:
    """Against the left dome, at the back."""
    x, y, z = p.x, p.y, p.z
    bean = Ellipsoid((92, 34, -106), (30, 50, 48)).distance(x, y, z)
    hilum = Ellipsoid((58, 14, -112), (30, 36, 38)).distance(x, y, z)
    return smooth_max(smooth_max(bean, -hilum, 10), abdomen(p) + 2, 8)


@shared
def stomach(p: Points) -> FloatArray:
    """Fundus under the left dome, body down to the front."""
    x, y, z = p.x, p.y, p.z
    fundus = Ellipsoid((58, -12, -104), (34, 34, 34)).distance(x, y, z)
    corpus = Capsule((58, -30, -118), (34, -56, -170), 27, 20).distance(x, y, z)
    apart = -np.minimum(liver(p), spleen(p)) + np.float32(2)
    return smooth_max(smooth_max(smooth_min(fundus, corpus, 24), abdomen(p) + 3, 8), apart, 4)


@shared
def stomach_gas(p: Points) -> FloatArray:
    """Gas at the front, which is the top of a patient who lies on the back."""
    y = p.y
    return smooth_max(stomach(p) + np.float32(4), y + np.float32(24), 1)


@shared
def kidneys(p: Points) -> FloatArray:
    """Both, the right a little lower, with the pelvis left out."""
    x, y, z = p.x, p.y, p.z
    total: FloatArray | None = None
    for side, height in ((1, -142), (-1, -156)):
        tilt = np.array([[1, 0, -0.18 * side], [0, 1, 0.12], [0.18 * side, -0.12, 1.0]])
        tilt /= np.linalg.norm(tilt, axis=0)
        bean = Ellipsoid((side * 60, 46, height), (25, 25, 54), tilt).distance(x, y, z)
        hilum = Ellipsoid((side * 36, 36, height), (16, 14, 22)).distance(x, y, z)
        kidney = smooth_max(bean, -hilum, 10)
        total = kidney if total is None else np.minimum(total, kidney)
    assert total is not None
    return total


@shared
def back_muscles(p: Points) -> FloatArray:
    """Psoas and what lies beside the lumbar spine within the abdominal outline."""
    x, y, z = p.x, p.y, p.z
    mirrored = np.abs(x)
    psoas = Capsule((24, 38, -112), (42, 28, -200), 9, 23).distance(mirrored, y, z)
    square = Capsule((60, 62, -120), (66, 58, -200), 12, 17).distance(mirrored, y, z)
    return np.minimum(psoas, square)


FIELDS: tuple[tuple[str, Field, Layers], ...] = (
    ("body", body, ((0.0, 15.0), (1.8, -104.0))),
    ("muscle", muscle, ((0.0, 58.0),)),
    ("cage", cage, ((0.0, -92.0),)),
    ("abdomen", abdomen, ((0.0, -98.0),)),
    ("lungs", lungs, ((0.0, -868.0),)),
    ("back_muscles", back_muscles, ((0.0, 58.0),)),
    ("heart", heart, ((0.0, 98.0),)),
    ("right_atrium", right_atrium, ((0.0, 250.0),)),
    ("right_ventricle", right_ventricle, ((0.0, 275.0),)),
    ("left_atrium", left_atrium, ((0.0, 345.0),)),
    ("left_ventricle", left_ventricle, ((0.0, 350.0),)),
    ("liver", liver, ((0.0, 88.0),)),
    ("spleen", spleen, ((0.0, 112.0),)),
    ("stomach", stomach, ((0.0, 55.0), (4.0, 22.0))),
    ("stomach_gas", stomach_gas, ((0.0, -960.0),)),
    ("kidneys", kidneys, ((0.0, 235.0), (8.0, 190.0))),
)
"""Name, field, and layers of HU, in the order of painting."""
