/**
 * The letters of the patient's sides at the edges of a picture.
 *
 * @module letters
 */

import { scale } from "./vector.js";
import { screenAxes } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */

/** Directions within 5 degrees of an axis carry its letter alone. */
const LETTER_THRESHOLD = Math.sin((5 * Math.PI) / 180);

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
