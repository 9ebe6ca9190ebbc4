/**
 * What a pane shows, as data, and the functions that change it. Nothing here knows of a page or a socket.
 *
 * A state is never modified: each function returns a new one. Lengths are mm, points and directions patient space
 * (LPS: +x left, +y back, +z head). Pixel coordinates are device pixels of the viewport with the first pixel's
 * centre at 0.5, so a pane of w pixels reaches from 0 to w.
 *
 * @module view-state
 */

import { add, along, cross, dot, fromWire as vector, length, normalize, rotateAbout, scale, subtract, toWire as xyz } from "./vector.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./geometry.js").VolumeGeometry} VolumeGeometry */
/** @typedef {{width: number, height: number}} Viewport Device pixels. */
/** @typedef {{center: number, width: number, function: string, explanation?: string, voi_lut?: number, table?: any}} Window */
/**
 * @typedef {object} Camera
 * @property {Vec} position
 * @property {Vec} lookAt
 * @property {Vec} up
 * @property {number} [parallelScale] Half the viewport's height, mm; orthographic.
 * @property {number} [fov] Vertical angle, degrees; perspective.
 */
/**
 * @typedef {object} ViewState
 * @property {string} volumeId
 * @property {Camera} camera
 * @property {number | null} slab mm; 0 for a thin plane, null for the whole volume.
 * @property {string} method RenderingMethod of the wire, without its prefix.
 * @property {Window} window
 * @property {boolean} invert On top of MONOCHROME1.
 * @property {any} transfer TransferFunction of the wire; null for the volume's default.
 * @property {boolean} flipHorizontal
 * @property {boolean} flipVertical
 */

/** Directions within 5 degrees of an axis carry its letter alone. */
const LETTER_THRESHOLD = Math.sin((5 * Math.PI) / 180);
/** A fitted camera leaves 4% of the viewport free on each side: the letters are there. */
const FIT_MARGIN = 1.08;
const MIN_SCALE_MM = 0.05;
const MAX_SCALE_MM = 1e5;
const METHOD_PREFIX = "RENDERING_METHOD_";

/**
 * @param {any} view View of the wire, with one layer.
 * @param {Window} defaultWindow For a layer without one.
 * @returns {ViewState}
 */
export function fromWire(view, defaultWindow) {
  const { camera, layers } = view;
  const layer = layers[0];
  return {
    volumeId: layer.volume_id,
    camera: {
      position: vector(camera.position),
      lookAt: vector(camera.look_at),
      up: vector(camera.up),
      ...(camera.fov_deg ? { fov: camera.fov_deg } : { parallelScale: camera.parallel_scale_mm }),
    },
    slab: view.slab_mm ?? null,
    method: view.rendering_method.slice(METHOD_PREFIX.length),
    window: layer.window ?? defaultWindow,
    invert: layer.invert ?? false,
    transfer: layer.transfer_function ?? null,
    flipHorizontal: view.viewport?.flip_horizontal ?? false,
    flipVertical: view.viewport?.flip_vertical ?? false,
  };
}

/**
 * @param {ViewState} state
 * @param {Viewport} viewport
 * @returns {object} View of the wire: complete and absolute.
 */
export function toWire(state, viewport) {
  const { camera, window } = state;
  return {
    camera: {
      position: xyz(camera.position),
      look_at: xyz(camera.lookAt),
      up: xyz(camera.up),
      ...(camera.fov === undefined ? { parallel_scale_mm: camera.parallelScale } : { fov_deg: camera.fov }),
    },
    viewport: {
      width_px: viewport.width,
      height_px: viewport.height,
      flip_horizontal: state.flipHorizontal,
      flip_vertical: state.flipVertical,
    },
    ...(state.slab === null ? {} : { slab_mm: state.slab }),
    rendering_method: METHOD_PREFIX + state.method,
    layers: [
      {
        volume_id: state.volumeId,
        window: { center: window.center, width: window.width, function: window.function, ...(window.voi_lut ? { voi_lut: window.voi_lut } : {}) },
        ...(state.transfer ? { transfer_function: state.transfer } : {}),
        invert: state.invert,
      },
    ],
  };
}

/** @param {Camera} camera Unit vectors of the picture before any flip. */
export function basis(camera) {
  const forward = normalize(subtract(camera.lookAt, camera.position));
  const right = normalize(cross(forward, camera.up));
  return { right, down: cross(forward, right), forward };
}

/** Unit vectors along a row and down a column of the picture, after the flips. @param {ViewState} state */
export function screenAxes(state) {
  const { right, down, forward } = basis(state.camera);
  return {
    row: state.flipHorizontal ? scale(right, -1) : right,
    column: state.flipVertical ? scale(down, -1) : down,
    forward,
  };
}

/** Half the viewport's height on the plane through lookAt, mm. @param {Camera} camera */
export function halfHeight(camera) {
  if (camera.parallelScale !== undefined) return camera.parallelScale;
  const distance = length(subtract(camera.lookAt, camera.position));
  return distance * Math.tan((/** @type {number} */ (camera.fov) * Math.PI) / 360);
}

/** Millimetres a pixel on the plane through lookAt. @param {ViewState} state @param {Viewport} viewport */
export const pixelSpacing = (state, viewport) => (2 * halfHeight(state.camera)) / viewport.height;

/**
 * The point of the plane through lookAt under a pixel.
 *
 * @param {ViewState} state
 * @param {Viewport} viewport
 * @param {number} x
 * @param {number} y
 * @returns {Vec}
 */
export function patientFromPixel(state, viewport, x, y) {
  const { row, column } = screenAxes(state);
  const spacing = pixelSpacing(state, viewport);
  const across = along(state.camera.lookAt, row, (x - viewport.width / 2) * spacing);
  return along(across, column, (y - viewport.height / 2) * spacing);
}

/**
 * Where a point appears: the orthographic projection.
 *
 * @param {ViewState} state
 * @param {Viewport} viewport
 * @param {Vec} point
 * @returns {{x: number, y: number}}
 */
export function pixelFromPatient(state, viewport, point) {
  const { row, column } = screenAxes(state);
  const offset = scale(subtract(point, state.camera.lookAt), 1 / pixelSpacing(state, viewport));
  return { x: dot(offset, row) + viewport.width / 2, y: dot(offset, column) + viewport.height / 2 };
}

/** @param {ViewState} state @param {Vec} offset Moves the camera, mm. @returns {ViewState} */
function translate(state, offset) {
  const { camera } = state;
  return {
    ...state,
    camera: { ...camera, position: add(camera.position, offset), lookAt: add(camera.lookAt, offset) },
  };
}

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

/** @param {Camera} camera @param {number} half mm. @returns {Camera} */
function withHalfHeight(camera, half) {
  if (camera.parallelScale !== undefined) return { ...camera, parallelScale: half };
  const back = subtract(camera.position, camera.lookAt);
  return { ...camera, position: along(camera.lookAt, back, half / halfHeight(camera)) };
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
export function scrollTo(state, geometry, index) {
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
 * Half the viewport's height at which all of the volume shows, with a margin, mm.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} viewport
 */
export function fittingHalfHeight(state, geometry, viewport) {
  const aspect = viewport.height / viewport.width;
  const { right, down } = basis(state.camera);
  const offsets = geometry.corners.map((corner) => subtract(corner, geometry.center));
  const halfWidth = Math.max(...offsets.map((offset) => Math.abs(dot(offset, right))));
  const halfTall = Math.max(...offsets.map((offset) => Math.abs(dot(offset, down))));
  return Math.max(halfTall, halfWidth * aspect) * FIT_MARGIN;
}

/**
 * Centre the volume in the viewport and fit it; the plane and the direction stay.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} viewport
 * @returns {ViewState}
 */
export function fit(state, geometry, viewport) {
  const offset = subtract(geometry.center, state.camera.lookAt);
  const { forward } = basis(state.camera);
  const inPlane = state.slab === null ? offset : along(offset, forward, -dot(offset, forward));
  const centred = translate(state, inPlane);
  return { ...centred, camera: withHalfHeight(centred.camera, fittingHalfHeight(state, geometry, viewport)) };
}

/**
 * As `fit`, but each voxel of a slice covers a whole number of pixels, where the slice is small enough for that.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} viewport
 * @returns {ViewState}
 */
export function fitNative(state, geometry, viewport) {
  const fitted = fit(state, geometry, viewport);
  const spacing = Math.min(length(geometry.steps[0]), length(geometry.steps[1]));
  const whole = Math.floor(spacing / pixelSpacing(fitted, viewport));
  if (whole < 1) return fitted;
  const native = { ...fitted, camera: withHalfHeight(fitted.camera, (viewport.height * spacing) / (2 * whole)) };
  return onVoxels(native, geometry, viewport, whole);
}

/**
 * Move the picture by less than a pixel, so that each voxel is a square of whole pixels: its centre lies on a pixel's
 * centre where their number is odd.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} viewport
 * @param {number} whole Pixels a voxel.
 * @returns {ViewState}
 */
function onVoxels(state, geometry, viewport, whole) {
  const first = subtract(patientFromPixel(state, viewport, 0.5, 0.5), geometry.origin);
  const target = whole % 2 === 0 ? 0.5 : 0;
  const move = geometry.steps.slice(0, 2).reduce(
    (sum, step) => {
      const index = dot(first, step) / dot(step, step);
      const wanted = (Math.round(index * whole - target) + target) / whole;
      return add(sum, scale(step, wanted - index));
    },
    /** @type {Vec} */ ([0, 0, 0]),
  );
  const { camera } = state;
  return { ...state, camera: { ...camera, position: add(camera.position, move), lookAt: add(camera.lookAt, move) } };
}

/**
 * Keep what is seen when the pane changes its size: the zoom relative to the fitted picture.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} before
 * @param {Viewport} after
 * @returns {ViewState}
 */
export function resize(state, geometry, before, after) {
  const ratio = fittingHalfHeight(state, geometry, after) / fittingHalfHeight(state, geometry, before);
  return { ...state, camera: withHalfHeight(state.camera, halfHeight(state.camera) * ratio) };
}

/**
 * The patient's sides a direction points to, the largest part first: "L", "LA".
 *
 * @param {Vec} direction Unit vector.
 */
export function letters(direction) {
  return [0, 1, 2]
    .filter((axis) => Math.abs(direction[axis]) > LETTER_THRESHOLD)
    .sort((a, b) => Math.abs(direction[b]) - Math.abs(direction[a]))
    .map((axis) => ["RL", "AP", "FH"][axis][direction[axis] > 0 ? 1 : 0])
    .join("");
}

/** Letters of the four edges. @param {ViewState} state */
export function edgeLetters(state) {
  const { row, column } = screenAxes(state);
  return {
    left: letters(scale(row, -1)),
    right: letters(row),
    top: letters(scale(column, -1)),
    bottom: letters(column),
  };
}

/**
 * Where another plane cuts this one, in pixels: a direction through the crosshair, or null if they are parallel.
 *
 * @param {ViewState} state
 * @param {ViewState} other
 * @returns {{x: number, y: number} | null} Unit vector.
 */
export function cutDirection(state, other) {
  const { row, column, forward } = screenAxes(state);
  const line = cross(forward, basis(other.camera).forward);
  const x = dot(line, row);
  const y = dot(line, column);
  const size = Math.hypot(x, y);
  return size < 1e-3 ? null : { x: x / size, y: y / size };
}
