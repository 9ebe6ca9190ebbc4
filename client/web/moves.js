/**
 * What a hand does to a picture: drag, magnify, turn it, look at it from a side of the patient.
 *
 * @module moves
 */

import { add, along, length, rotateAbout, scale, subtract } from "./vector.js";
import { basis, halfHeight, patientFromPixel, pixelSpacing, screenAxes, translate, withHalfHeight } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Viewport} Viewport */

const MIN_SCALE_MM = 0.05;
const MAX_SCALE_MM = 1e5;

/**
 * Drag the picture by so many pixels.
 *
 * @param {ViewState} state
 * @param {Viewport} viewport
 * @param {number} dx
 * @param {number} dy
 */
export function pan(state, viewport, dx, dy) {
  const { row, column } = screenAxes(state);
  const spacing = pixelSpacing(state, viewport);
  return translate(state, add(scale(row, -dx * spacing), scale(column, -dy * spacing)));
}

/**
 * Magnify by a factor; what lies under the pixel stays there.
 *
 * @param {ViewState} state
 * @param {Viewport} viewport
 * @param {number} factor Over 1 magnifies.
 * @param {{x: number, y: number}} [at] The viewport's centre if absent.
 * @returns {ViewState}
 */
export function zoom(state, viewport, factor, at) {
  const { camera } = state;
  const before = halfHeight(camera);
  const after = Math.min(MAX_SCALE_MM, Math.max(MIN_SCALE_MM, before / factor));
  const held = at ? patientFromPixel(state, viewport, at.x, at.y) : camera.lookAt;
  const zoomed = { ...state, camera: withHalfHeight(camera, after) };
  return translate(zoomed, scale(subtract(held, camera.lookAt), 1 - after / before));
}

/**
 * Turn the camera around what it looks at, as if the picture were a ball under the pointer.
 *
 * @param {ViewState} state
 * @param {number} yaw Radians; the front goes to the right.
 * @param {number} pitch Radians; the front goes down.
 * @returns {ViewState}
 */
export function rotate(state, yaw, pitch) {
  const { camera } = state;
  const { right, down } = basis(camera);
  const mirrored = { yaw: state.flipHorizontal ? -yaw : yaw, pitch: state.flipVertical ? -pitch : pitch };
  /** @param {Vec} v @returns {Vec} */
  const turn = (v) => rotateAbout(rotateAbout(v, down, mirrored.yaw), right, -mirrored.pitch);
  return {
    ...state,
    camera: {
      ...camera,
      position: add(camera.lookAt, turn(subtract(camera.position, camera.lookAt))),
      // Orthogonal again each time, so that a long drag gathers no error.
      up: turn(scale(down, -1)),
    },
  };
}

/** Turn the picture clockwise in its plane. @param {ViewState} state @param {number} radians @returns {ViewState} */
export function roll(state, radians) {
  const { down, forward } = basis(state.camera);
  const mirrored = state.flipHorizontal !== state.flipVertical ? -radians : radians;
  return { ...state, camera: { ...state.camera, up: rotateAbout(scale(down, -1), forward, -mirrored) } };
}

/**
 * Look from a side of the patient.
 *
 * @param {ViewState} state
 * @param {"A" | "P" | "L" | "R" | "H" | "F"} side
 * @returns {ViewState}
 */
export function lookFrom(state, side) {
  /** @type {Record<string, [Vec, Vec]>} */
  const sides = {
    A: [[0, -1, 0], [0, 0, 1]],
    P: [[0, 1, 0], [0, 0, 1]],
    R: [[-1, 0, 0], [0, 0, 1]],
    L: [[1, 0, 0], [0, 0, 1]],
    H: [[0, 0, 1], [0, -1, 0]],
    F: [[0, 0, -1], [0, -1, 0]],
  };
  const { camera } = state;
  const distance = length(subtract(camera.position, camera.lookAt));
  const [direction, up] = sides[side];
  return { ...state, camera: { ...camera, position: along(camera.lookAt, direction, distance), up } };
}
