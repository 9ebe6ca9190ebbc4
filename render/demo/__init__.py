"""The demonstration volume: a torso in CT, made by rule."""

from render.demo.torso import EXTENT_MM, torso_volume
from render.demo.vessels import NODULE_CENTER_MM, NODULE_RADIUS_MM

__all__ = ["EXTENT_MM", "NODULE_CENTER_MM", "NODULE_RADIUS_MM", "torso_volume"]
