/**
 * What a pane shows, as data: what crosses the wire, and which point lies under which pixel. What changes it is in
 * moves.js, slices.js and fitting.js. Nothing there or here knows of a page or a socket.
 *
 * A state is never modified: what changes it returns a new one. Lengths are mm, points and directions patient space
 * (LPS: +x left, +y back, +z head). Pixel coordinates are device pixels of the viewport with the first pixel's
 * centre at 0.5, so a pane of w pixels reaches from 0 to w.
 *
 * @module view-state
 */

import { add, along, cross, dot, fromWire as vector, length, normalize, scale, subtract, toWire as xyz } from "./vector.js";

/** @typedef {import("./vector.js").Vec} Vec */
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

/** Move what is looked at, and from where. @param {ViewState} state @param {Vec} offset Moves the camera, mm. @returns {ViewState} */
export function translate(state, offset) {
  const { camera } = state;
  return {
    ...state,
    camera: { ...camera, position: add(camera.position, offset), lookAt: add(camera.lookAt, offset) },
  };
}

/** The camera with another half height, from the same direction. @param {Camera} camera @param {number} half mm. @returns {Camera} */
export function withHalfHeight(camera, half) {
  if (camera.parallelScale !== undefined) return { ...camera, parallelScale: half };
  const back = subtract(camera.position, camera.lookAt);
  return { ...camera, position: along(camera.lookAt, back, half / halfHeight(camera)) };
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

/**
 * Whether two states give the same values, if not the same gray.
 *
 * @param {ViewState} a
 * @param {ViewState} b
 */
export function sameButWindow(a, b) {
  return (
    a.volumeId === b.volumeId &&
    a.camera === b.camera &&
    a.slab === b.slab &&
    a.method === b.method &&
    a.transfer === b.transfer &&
    a.flipHorizontal === b.flipHorizontal &&
    a.flipVertical === b.flipVertical
  );
}

/** @param {Viewport} a @param {Viewport} b */
export const sameViewport = (a, b) => a.width === b.width && a.height === b.height;
