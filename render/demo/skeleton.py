"""The demonstration torso's bones: spine, ribs, breastbone, collarbones, shoulder blades, upper arms."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from render.demo.anatomy import ARM, CAGE_DEPTH, CAGE_MIDDLE, CAGE_WIDTH, SPINE_Y
from render.demo.shapes import Capsule, Drum, Ellipsoid, Plate, Point, Shape, Structure, tube

BONE = ((0.0, 560.0), (1.4, 760.0), (2.8, 290.0))
"""Cortex over marrow."""
FLAT_BONE = ((0.0, 520.0), (1.2, 640.0), (2.4, 300.0))
VERTEBRA = ((0.0, 430.0), (1.4, 480.0), (2.6, 235.0))


def _at(function: object, z_mm: float) -> float:
    assert callable(function)
    return float(function(np.array([z_mm], np.float32))[0])


def vertebra_levels() -> list[tuple[float, float]]:
    """(z of the middle, height with its disc) in mm of C7, T1 to T12, L1 to L4."""
    heights = [17.0] + [19.0 + 0.6 * n for n in range(12)] + [29.0, 30.0, 31.0, 32.0]
    z = 178.0
    levels = []
    for height in heights:
        levels.append((z, height))
        z -= height
    return levels


def spine() -> list[Structure]:
    """Vertebral bodies, discs, arches and processes."""
    bodies: list[Shape] = []
    discs: list[Shape] = []
    arches: list[Shape] = []
    for number, (z, height) in enumerate(vertebra_levels()):
        y = _at(SPINE_Y, z)
        width, depth = 14.0 + 0.55 * number, 10.5 + 0.45 * number
        disc = 3.5 + 0.35 * number
        bodies.append(Drum((0, y, z), width, depth, (height - disc) / 2, 0.1))
        y_below = _at(SPINE_Y, z - height / 2)
        discs.append(Drum((0, y_below, z - height / 2), width - 0.5, depth - 0.5, disc / 2 + 0.8))
        lumbar = number > 12
        back = y + depth
        length = 24.0 if lumbar else 26.0
        drop = 6.0 if lumbar else 16.0
        tip: Point = (0, back + 20 + length * (0.9 if lumbar else 0.62), z - 6 - drop)
        arches += [
            Capsule((0, back + 20, z - 3), tip, 3.4, 3.0, (0.9, 1.0, 2.4 if lumbar else 1.7)),
            Ellipsoid(tip, (3.6, 3.6, 8.0 if lumbar else 5.5)),
        ]
        for side in (-1, 1):
            joint: Point = (side * 13.0, back + 13, z - 2)
            across = 34.0 if lumbar else 30.0 - 0.6 * number
            arches += [
                Capsule((side * (width - 5.5), y + depth - 3, z + 2), joint, 4.2, 4.2, (1.0, 1.0, 1.5)),
                Capsule(joint, (0, back + 20, z - 4), 3.6, 3.4, (1.0, 1.0, 2.0)),
                Capsule(joint, (side * across, back + (14 if lumbar else 19), z + 1), 3.8, 3.2, (1.0, 1.0, 1.3)),
                Ellipsoid((side * 13.5, back + 15, z - height / 2), (5.5, 5.0, 7.5)),
            ]
    return [
        Structure(tuple(discs), ((0.0, 95.0),)),
        Structure(tuple(bodies), VERTEBRA),
        Structure(tuple(arches), BONE),
    ]


def rib_path(number: int, *, end: float) -> npt.NDArray[np.float64]:
    """Points along a left rib's middle, from its vertebra to `end` (0 at the back, 1 at the breastbone)."""
    z_spine = vertebra_levels()[number][0]
    drop = float(np.interp(number, [1, 2, 4, 8, 12], [30, 48, 66, 82, 78]))
    start = math.radians(17)
    points = [[10.0 + 0.7 * number, _at(SPINE_Y, z_spine) + 12, z_spine + 5]]
    for share in np.linspace(0, end, 14):
        angle = start + share * (math.radians(166) - start)
        # The neck rises a little, the shaft sinks, the front levels out.
        z = z_spine + 4 - drop * (0.5 - 0.5 * math.cos(math.pi * min(1.0, share * 1.08)))
        cage_z = min(z, 140.0)
        width, depth = _at(CAGE_WIDTH, cage_z) + 4.5, _at(CAGE_DEPTH, cage_z) + 4.5
        x, y = math.sin(angle), math.cos(angle)
        # The cage's outline is a superellipse of power 2.2.
        stretch = (abs(x) ** 2.2 + abs(y) ** 2.2) ** (-1 / 2.2)
        points.append([width * x * stretch, _at(CAGE_MIDDLE, cage_z) + depth * y * stretch, z])
    return np.array(points)


def ribs() -> list[Structure]:
    """Twelve pairs, the upper ten with their cartilage."""
    bone: list[Shape] = []
    cartilage: list[Shape] = []
    squeeze = (1.0, 1.0, 1.75)
    for number in range(1, 13):
        floating = number > 10
        end = {11: 0.5, 12: 0.34}.get(number, 0.8 if number < 8 else 0.76 - 0.03 * (number - 8))
        left = rib_path(number, end=end)
        for side in (-1, 1):
            path = left * [side, 1, 1]
            bone += tube(path, [4.6, *[3.7] * (len(path) - 2), 3.4], squeeze, steps=3)
            if floating:
                continue
            tip = path[-1]
            goal_z = float(np.interp(number, [1, 2, 7, 10], [88, 72, -16, -34]))
            goal = np.array([side * (14 if number < 8 else 22 + 6 * (number - 7)), 0, goal_z])
            goal[1] = _at(CAGE_MIDDLE, goal_z) - _at(CAGE_DEPTH, goal_z) - 3 + 0.05 * abs(goal[0])
            middle = 0.5 * (tip + goal) + [side * 4, -4, -6 if number > 4 else 0]
            cartilage += tube(np.array([path[-2], tip, middle, goal])[1:], [3.6, 3.8, 3.8], squeeze, steps=5)
    return [Structure(tuple(cartilage), ((0.0, 118.0),)), Structure(tuple(bone), FLAT_BONE)]


def breastbone() -> Structure:
    """Manubrium, body and xiphoid process."""

    def front(z_mm: float) -> float:
        return _at(CAGE_MIDDLE, z_mm) - _at(CAGE_DEPTH, z_mm) - 3.5

    wide, slim = (3.6, 1.0, 1.6), (2.9, 1.0, 1.5)
    shapes = tube([(0, front(z), z) for z in (92, 78, 62)], [5.6, 5.6, 4.4], wide, steps=4) + tube(
        [(0, front(z), z) for z in (56, 30, 0, -22)], [4.6, 5.0, 5.4, 4.2], slim, steps=5
    )
    shapes += tube([(0, front(z), z) for z in (-28, -44)], [3.2, 2.0], (2.0, 1.0, 1.2), steps=3)
    return Structure(tuple(shapes), FLAT_BONE)


def shoulders() -> Structure:
    """Collarbones, blades and the upper arms, which are raised."""
    shapes: list[Shape] = []
    left: list[Shape] = []
    neck_y = _at(CAGE_MIDDLE, 92) - _at(CAGE_DEPTH, 92)
    left += tube(
        [(14, neck_y - 1, 98), (46, neck_y - 6, 108), (82, neck_y + 18, 122), (112, 12, 134), (126, 26, 132)],
        [8.0, 5.6, 5.4, 5.4, 6.0],
        steps=6,
    )
    upper, lower, outer = (62.0, 88.0, 112.0), (84.0, 100.0, -8.0), (124.0, 56.0, 100.0)
    left += [
        Plate((upper, lower, outer), 2.0, 110.0),
        Capsule(lower, outer, 3.0, 5.5),
    ]
    left += tube(
        [(66, 99, 92), (96, 98, 108), (124, 68, 126), (134, 44, 130), (130, 30, 132)], [3, 5, 5.5, 6, 5], steps=6
    )
    left.append(Capsule((118, 58, 104), (124, 48, 108), 9, 12, (1.0, 1.0, 1.3)))
    shoulder, middle, end = (np.array(point) for point in ARM)
    head = (shoulder + middle) / 2 + [0, 6, -4]
    left.append(Ellipsoid((float(head[0]), float(head[1]), float(head[2])), (22.0, 22.0, 23.0)))
    left += tube([head, np.add(middle, (-2, -2, 22)), end], [14.0, 11.0, 11.0], steps=6)
    for shape in left:
        shapes += [shape, _mirrored(shape)]
    return Structure(tuple(shapes), BONE)


def _mirrored(shape: Shape) -> Shape:
    def flip(point: Point) -> Point:
        return -point[0], point[1], point[2]

    if isinstance(shape, Capsule):
        return Capsule(flip(shape.start), flip(shape.end), shape.start_radius_mm, shape.end_radius_mm, shape.squeeze)
    if isinstance(shape, Plate):
        a, b, c = shape.corners
        return Plate((flip(a), flip(b), flip(c)), shape.half_thickness_mm, shape.bow_radius_mm)
    assert isinstance(shape, Ellipsoid)
    assert shape.axes is None
    return Ellipsoid(flip(shape.center), shape.radii_mm)


def skeleton() -> list[Structure]:
    """All bones, in the order of painting."""
    return [*spine(), *ribs(), breastbone(), shoulders()]
