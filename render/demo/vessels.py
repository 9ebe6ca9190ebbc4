"""The demonstration torso's vessels and airways: great vessels by hand, trees within the lungs grown by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from render.demo.shapes import Capsule, Point, Shape, Structure, tube

Distance = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float32]]
"""Signed distances of points (N, 3) to the lungs' surface, mm, negative inside."""

AORTA_HU, PULMONARY_HU, VEIN_HU, CAVA_HU = 365.0, 305.0, 330.0, 210.0

NODULE_CENTER_MM: Point = (-78.0, 2.0, 58.0)
"""In the right upper lobe; the round part is 8 mm across."""
NODULE_RADIUS_MM = 4.0

_CARINA: Point = (-2, 16, 66)
_LEFT_HILUM: Point = (42, 16, 40)
_RIGHT_HILUM: Point = (-42, 16, 40)


def arteries() -> Structure:
    """Aorta and what leaves it: brighter than anything but bone."""
    shapes = tube(
        [
            (2, -26, 2),
            (-8, -34, 26),
            (-14, -36, 54),
            (-9, -29, 80),
            (4, -12, 93),
            (17, 10, 90),
            (25, 27, 72),
            (26, 35, 40),
            (24, 36, -10),
            (20, 31, -60),
            (11, 20, -96),
            (5, 12, -125),
            (4, 9, -160),
            (4, 8, -200),
        ],
        [15, 16.5, 15.5, 14.5, 13.5, 13, 12.5, 12, 11.5, 11, 10.5, 9.5, 9, 8.5],
        steps=6,
    )
    branches: list[tuple[Sequence[Point], float, float]] = [
        # Brachiocephalic, right carotid and subclavian, left carotid, left subclavian.
        ([(-6, -22, 92), (-12, -20, 112), (-20, -12, 130)], 7.0, 6.2),
        ([(-20, -12, 130), (-26, -12, 150), (-28, -10, 200)], 4.2, 3.6),
        ([(-20, -12, 130), (-36, -2, 146), (-66, 4, 142), (-98, 16, 128), (-122, 8, 150), (-112, -6, 205)], 5.2, 3.2),
        ([(5, -10, 100), (12, -12, 122), (24, -10, 150), (28, -10, 200)], 4.6, 3.6),
        (
            [(16, 6, 98), (24, 4, 122), (36, 0, 146), (66, 4, 142), (98, 16, 128), (122, 8, 150), (112, -6, 205)],
            5.4,
            3.2,
        ),
        # Coeliac trunk with hepatic and splenic arteries, superior mesenteric, renal arteries.
        ([(11, 12, -98), (8, -8, -102), (4, -16, -102)], 4.2, 3.8),
        ([(4, -16, -102), (-14, -22, -104), (-34, -22, -100), (-52, -20, -94)], 3.0, 1.8),
        ([(4, -16, -102), (24, -2, -98), (44, 20, -104), (64, 28, -106), (80, 30, -104)], 3.4, 2.2),
        ([(8, 6, -110), (4, -14, -124), (2, -20, -160), (2, -20, -200)], 4.2, 3.4),
        ([(6, 12, -132), (24, 22, -136), (42, 38, -142), (56, 44, -142)], 3.4, 2.4),
        ([(4, 12, -136), (-18, 24, -146), (-40, 38, -155), (-56, 44, -156)], 3.4, 2.4),
        # Coronary arteries over the heart.
        ([(8, -38, 12), (24, -50, 12), (40, -66, -2), (54, -78, -28), (64, -78, -56)], 2.2, 1.2),
        ([(12, -36, 12), (40, -32, 14), (64, -24, -4), (70, -16, -28), (66, -14, -52)], 2.0, 1.1),
        ([(-10, -44, 14), (-20, -56, 6), (-24, -58, -24), (-16, -52, -52), (6, -44, -68)], 2.1, 1.2),
    ]
    for points, first, last in branches:
        shapes += tube(points, np.linspace(first, last, len(points)).tolist(), steps=6)
    # Internal thoracic arteries run down beside the breastbone.
    for side in (-1, 1):
        shapes += tube([(side * 34, 0, 138), (side * 22, -42, 100), (side * 19, -72, 40), (side * 19, -88, -20)], 1.5)
    return Structure(tuple(shapes), ((0.0, AORTA_HU),))


def systemic_veins() -> Structure:
    """Upper and lower cava, brachiocephalic and hepatic veins: half mixed."""
    shapes = tube([(-26, -22, 100), (-29, -24, 60), (-27, -24, 8)], [8, 9.5, 10], steps=6)
    shapes += tube(
        [(-24, -18, -40), (-20, -4, -76), (-20, 4, -104), (-20, 8, -150), (-20, 10, -200)], [12, 12, 11, 10.5, 10]
    )
    shapes += tube([(44, -12, 138), (28, -34, 118), (2, -40, 106), (-24, -26, 98)], [5.5, 6, 6.5, 7])
    shapes += tube([(-40, -10, 138), (-30, -22, 120), (-26, -24, 98)], [6, 6.5, 7])
    for side in (-1, 1):
        shapes += tube([(side * 42, -11, 138), (side * 38, -8, 165), (side * 36, -4, 205)], [5.5, 5.5, 5])
    hepatic: list[Sequence[Point]] = [
        [(-21, -2, -78), (-48, 6, -84), (-80, 14, -100), (-104, 18, -116)],
        [(-21, -4, -78), (-42, -26, -88), (-60, -48, -104), (-68, -60, -124)],
        [(-20, -6, -78), (-4, -34, -88), (12, -50, -94), (36, -54, -94)],
    ]
    for points in hepatic:
        shapes += tube(points, np.linspace(4.6, 1.6, len(points)).tolist(), steps=5)
    return Structure(tuple(shapes), ((0.0, CAVA_HU),))


def portal_vein() -> Structure:
    """Portal vein with its branches in the liver."""
    shapes = tube([(30, 0, -122), (6, -12, -116), (-24, -16, -108), (-44, -14, -104)], [4.5, 6, 6, 5.5])
    shapes += tube([(-44, -14, -104), (-70, -4, -110), (-96, 4, -126), (-110, 8, -142)], [4.5, 3.4, 2.4, 1.4])
    shapes += tube([(-44, -14, -104), (-66, -34, -98), (-84, -44, -96)], [3.6, 2.6, 1.5])
    shapes += tube([(-40, -16, -104), (-16, -36, -100), (14, -52, -100)], [3.6, 2.8, 1.6])
    return Structure(tuple(shapes), ((0.0, 138.0),))


def pulmonary_trunk() -> Structure:
    """Pulmonary trunk and its two main branches."""
    shapes = tube([(15, -54, 10), (17, -50, 32), (16, -36, 50), (26, -14, 55)], [13, 14, 14, 12.5])
    shapes += tube([(26, -14, 55), (36, 4, 52), _LEFT_HILUM], [12.5, 11, 8])
    shapes += tube([(16, -30, 48), (0, -10, 48), (-22, -1, 46), (-38, 8, 42), _RIGHT_HILUM], [12, 11, 10.5, 9, 8])
    return Structure(tuple(shapes), ((0.0, PULMONARY_HU),))


def grow(
    start: Point,
    heading: npt.ArrayLike,
    radius_mm: float,
    lungs: Distance,
    *,
    seed: int,
    finest_mm: float,
    ratio: float = 0.79,
) -> list[Capsule]:
    """Grow a tree from a hilum: each branch forks in two, towards where there is room, until it is too fine.

    Parameters
    ----------
    start, heading, radius_mm
        Of the first branch.
    lungs
        Keeps it within.
    seed
        Of the choice among directions.
    finest_mm
        Radius at which it ends.
    ratio
        A fork's radius to its parent's: 2**(-1/3) after Murray.
    """
    generator = np.random.default_rng(seed)
    rods: list[Capsule] = []
    tips = [np.asarray(start, np.float64)]
    first = np.asarray(heading, np.float64)
    pending = [(np.asarray(start, np.float64), first / np.linalg.norm(first), radius_mm)]
    while pending:
        base, direction, radius = pending.pop(0)
        if radius < finest_mm:
            continue
        length = 5.0 + 4.6 * radius
        taken = np.array(tips[-200:])
        aside = 0.35 * np.cross(direction, [0.3, 0.5, 0.8])
        for side in (-1, 1):
            # The two go apart in a random plane; the one that comes into free room is kept of a few tries.
            tries = direction + generator.normal(0, 0.55, (7, 3)) + side * aside
            tries /= np.linalg.norm(tries, axis=1, keepdims=True)
            ends = base + length * tries
            nearest = ((taken[None] - ends[:, None]) ** 2).sum(axis=2).min(axis=1)
            room = np.where(lungs(ends) > -2.5 - radius, -np.inf, np.minimum(nearest, (1.6 * length) ** 2))
            best = int(np.argmax(room))
            if not np.isfinite(room[best]):
                continue
            end, child = ends[best], radius * ratio
            bend = base + 0.55 * length * (0.65 * tries[best] + 0.35 * direction)
            middle = 0.5 * (radius + child)
            rods.append(Capsule(_point(base), _point(bend), min(radius, child * 1.15), middle))
            rods.append(Capsule(_point(bend), _point(end), min(middle, child * 1.08), child))
            tips.append(end)
            pending.append((end, tries[best], child))
    return rods


def lung_vessels(lungs: Distance) -> list[Structure]:
    """Arterial and venous trees of both lungs."""
    trees: list[Structure] = []
    headings = [(0.5, -0.45, 0.75), (0.75, 0.45, 0.1), (0.4, 0.2, -0.9), (0.6, -0.7, -0.25)]
    for name, hu, offset, radius in (
        ("arteries", PULMONARY_HU, (0, 2, 2), 4.7),
        ("veins", VEIN_HU, (-2, -12, -14), 4.2),
    ):
        shapes: list[Shape] = []
        for side, hilum in ((1, _LEFT_HILUM), (-1, _RIGHT_HILUM)):
            root = np.array(hilum) + np.array(offset) * [side, 1, 1]
            if name == "veins":
                shapes += tube([(side * 22, 2, 4), root], [8, 6], steps=4)
            for number, (x, y, z) in enumerate(headings):
                heading = np.array([side * x, y, z])
                begin = root + heading * 16
                shapes += tube([root, begin], [radius + 1.0, radius])
                seed = 100 * (name == "veins") + 10 * (side > 0) + number
                shapes += grow(_point(begin), heading, radius, lungs, seed=seed, finest_mm=0.72)
        trees.append(Structure(tuple(shapes), ((0.0, hu),)))
    return trees


def airways(lungs: Distance) -> Structure:
    """Trachea, main bronchi and the first generations within the lungs: a wall, then air."""
    shapes = tube([(0, 6, 210), (0, 8, 150), (-1, 13, 100), _CARINA], [9.2, 9.2, 9.0, 9.4])
    for side, hilum, radius in ((1, _LEFT_HILUM, 6.8), (-1, _RIGHT_HILUM, 7.6)):
        root = np.array(hilum) + np.array([side * 2, 8, -2])
        shapes += tube(
            [_CARINA, (np.array(_CARINA) + root) / 2 + [0, 1, 1], root], [radius + 0.6, radius, radius - 0.8]
        )
        for number, (x, y, z) in enumerate([(0.5, -0.3, 0.75), (0.8, 0.2, 0.0), (0.4, 0.35, -0.85)]):
            heading = np.array([side * x, y, z])
            begin = root + heading * 15
            shapes += tube([root, begin], [radius - 1.2, 3.9])
            shapes += grow(_point(begin), heading, 3.7, lungs, seed=300 + 10 * (side > 0) + number, finest_mm=1.5)
    return Structure(tuple(shapes), ((0.0, 28.0), (1.3, -1000.0)))


def oesophagus() -> Structure:
    """Behind the trachea and the left atrium, down to the stomach."""
    points: list[Point] = [(2, 20, 205), (4, 24, 120), (6, 28, 60), (8, 32, 0), (14, 22, -56), (36, 0, -84)]
    return Structure(tuple(tube(points, 6.5)), ((0.0, 42.0),))


def bowel() -> list[Structure]:
    """Loops of small bowel, and a colon with gas in it."""
    turn = np.linspace(0, 9 * np.pi, 60)
    loops = np.stack(
        [28 + 46 * np.cos(turn) + 6 * np.sin(2.7 * turn), -34 + 30 * np.sin(0.43 * turn + 1), -158 - 0.65 * turn], 1
    )
    descending: list[Point] = [(104, 0, -146), (108, 16, -160), (104, 12, -180), (106, 18, -205)]
    transverse: list[Point] = [(-70, -66, -190), (-30, -78, -184), (20, -82, -178), (66, -76, -164), (100, -22, -142)]
    small = Structure(tuple(tube(loops, 10.0, steps=2)), ((0.0, 52.0), (2.4, 24.0)))
    pouches = [11 + 3.5 * float(np.cos(2.4 * n)) for n in range(12)]
    colon = Structure(
        tuple(tube(np.array(descending), pouches[:4], steps=8) + tube(np.array(transverse), pouches[4:9], steps=8)),
        ((0.0, 50.0), (2.6, -940.0)),
    )
    return [small, colon]


def nodule() -> Structure:
    """Make a small solid nodule with three spicules."""
    x, y, z = NODULE_CENTER_MM
    core = Capsule(NODULE_CENTER_MM, (x + 0.1, y, z), NODULE_RADIUS_MM, NODULE_RADIUS_MM)
    spicules = [
        Capsule(NODULE_CENTER_MM, (x + dx, y + dy, z + dz), 1.2, 0.4)
        for dx, dy, dz in ((-7.0, 2.0, 3.0), (3.0, -7.0, 2.0), (2.0, 4.0, -7.0))
    ]
    return Structure((core, *spicules), ((0.0, 46.0),))


def soft_structures(lungs: Distance) -> list[Structure]:
    """All of these, in the order of painting."""
    return [
        oesophagus(),
        *bowel(),
        portal_vein(),
        systemic_veins(),
        *lung_vessels(lungs),
        pulmonary_trunk(),
        arteries(),
        airways(lungs),
        nodule(),
    ]


def _point(array: npt.NDArray[np.float64]) -> Point:
    x, y, z = (float(component) for component in array)
    return x, y, z
