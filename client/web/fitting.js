/**
 * How large a picture is at first: all of the volume in the viewport, or voxels on whole pixels.
 *
 * @module fitting
 */

import { add, along, dot, length, scale, subtract } from "./vector.js";
import { basis, halfHeight, patientFromPixel, pixelSpacing, translate, withHalfHeight } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Viewport} Viewport */
/** @typedef {import("./geometry.js").VolumeGeometry} VolumeGeometry */

/** A fitted camera leaves 4% of the viewport free on each side: the letters are there. */
const FIT_MARGIN = 1.08;

/**
 * Half the viewport's height at which all of the volume shows, with a margin, mm.
 *
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 * @param {Viewport} viewport
 */
function fittingHalfHeight(state, geometry, viewport) {
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
  return translate(state, move);
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
