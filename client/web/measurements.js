/**
 * Distances that were measured: lines between two points of the patient, kept by series while the page is open.
 *
 * Nothing of them leaves the page.
 *
 * @module measurements
 */

import { slicePosition } from "./slices.js";
import { dot, length, subtract } from "./vector.js";
import { basis } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./geometry.js").VolumeGeometry} VolumeGeometry */
/** @typedef {{from: Vec, to: Vec}} Line mm, patient space. */
/** @typedef {"from" | "to"} End */

/** A line that is shorter was a slip of the hand, mm. */
const SLIP_MM = 1e-3;

/** @param {Line} line @returns {number} mm. */
export const lineLength = ({ from, to }) => length(subtract(to, from));

/**
 * Whether a picture shows a line: both ends within its slice, or its slab.
 *
 * @param {Line} line
 * @param {ViewState} state
 * @param {VolumeGeometry} geometry
 */
export function liesIn(line, state, geometry) {
  const { forward } = basis(state.camera);
  // Half way to the next slice it is that one's.
  const reach = (Math.max(state.slab ?? 0, slicePosition(state, geometry).step) / 2) * (1 - 1e-6);
  return [line.from, line.to].every((end) => Math.abs(dot(subtract(end, state.camera.lookAt), forward)) < reach);
}

/** The lines of the series that is shown, and of those that were. */
export class Measurements {
  constructor() {
    /** @type {Map<string, Line[]>} */
    this.ofSeries = new Map();
    /** @type {Line[]} */
    this.lines = [];
    /** @type {Line | null} */
    this.selected = null;
  }

  /** @param {string} series Id of the volume that stands for it. */
  open(series) {
    this.lines = this.ofSeries.get(series) ?? [];
    this.ofSeries.set(series, this.lines);
    this.selected = null;
  }

  /** Begin a line. @param {Vec} from */
  begin(from) {
    this.selected = { from, to: from };
    this.lines.push(this.selected);
    return this.selected;
  }

  /** Let go of what is no line. */
  settle() {
    const { selected } = this;
    if (selected && lineLength(selected) < SLIP_MM) this.remove();
  }

  /** Remove the line that is selected; all where none is. */
  remove() {
    const { lines, selected } = this;
    if (selected) lines.splice(lines.indexOf(selected), 1);
    else lines.length = 0;
    this.selected = null;
  }
}
