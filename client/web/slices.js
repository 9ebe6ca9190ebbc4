/**
 * Planes in the stack of slices that are parallel to them.
 *
 * @module slices
 */

import { letters } from "./letters.js";
import { dot, scale, subtract } from "./vector.js";
import { basis, translate } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Camera} Camera */
/** @typedef {import("./geometry.js").VolumeGeometry} VolumeGeometry */

/**
 * The way slices are counted through a plane: to the feet, to the back, or along the view.
 *
 * @param {Camera} camera
 * @returns {Vec} Unit vector along the plane's normal.
 */
export function scrollDirection(camera) {
  const { forward } = basis(camera);
  const upwards = forward[2] > Math.abs(forward[0]) && forward[2] > Math.abs(forward[1]);
  return upwards ? scale(forward, -1) : forward;
}

/**
 * Where a plane lies in the stack of slices parallel to it.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @returns {{index: number, count: number, step: number}} Index from 0, fractional between slices; step in mm.
 */
export function slicePosition(state, geometry) {
  const normal = scrollDirection(state.camera);
  const { from, step, count } = geometry.extentAlong(normal);
  return { index: (dot(state.camera.lookAt, normal) - from) / step - 0.5, count, step };
}

/**
 * Move the plane to a slice, clamped to the volume.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {number} index From 0.
 */
function scrollTo(state, geometry, index) {
  const now = slicePosition(state, geometry);
  const target = Math.min(now.count - 1, Math.max(0, index));
  return translate(state, scale(scrollDirection(state.camera), (target - now.index) * now.step));
}

/** Move by whole slices; lands on one. @param {ViewState} state @param {VolumeGeometry} geometry @param {number} ticks */
export function scrollBy(state, geometry, ticks) {
  const { index } = slicePosition(state, geometry);
  return scrollTo(state, geometry, Math.round(index) + ticks);
}

/** Move along its normal until the plane contains a point. @param {ViewState} state @param {Vec} point */
export function moveThrough(state, point) {
  const { forward } = basis(state.camera);
  return translate(state, scale(forward, dot(subtract(point, state.camera.lookAt), forward)));
}

/**
 * Where a plane lies: the coordinate of its axis for an orthogonal one, the distance along its normal otherwise, both
 * with the letters of the side of the origin that it is on.
 *
 * @param {ViewState} state
 */
export function planePosition(state) {
  const normal = scrollDirection(state.camera);
  const axis = [0, 1, 2].find((candidate) => Math.abs(normal[candidate]) > 1 - 1e-6);
  if (axis !== undefined) {
    const value = state.camera.lookAt[axis];
    return `${["RL", "AP", "FH"][axis][value < 0 ? 0 : 1]} ${Math.abs(value).toFixed(1)} mm`;
  }
  const distance = normal.reduce((sum, part, index) => sum + part * state.camera.lookAt[index], 0);
  const side = letters(distance < 0 ? scale(normal, -1) : normal);
  return `${side} ${Math.abs(distance).toFixed(1)} mm`;
}
