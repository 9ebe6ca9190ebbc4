/**
 * A volume's grid in patient space (LPS, mm): what the planes scroll through.
 *
 * @module geometry
 */

import { add, cross, dot, length, scale, subtract } from "./vector.js";

/** @typedef {import("./vector.js").Vec} Vec */

/** A volume reaches to its voxel faces: -0.5 to n - 0.5 on each axis. */
export class VolumeGeometry {
  /**
   * @param {{columns: number, rows: number, slices: number, patient_from_voxel: number[]}} wire
   *   As in VolumeDescription.geometry; the matrix row by row.
   */
  constructor(wire) {
    const m = wire.patient_from_voxel;
    /** Columns, rows, slices. @type {Vec} */
    this.size = [wire.columns, wire.rows, wire.slices];
    /** Steps to the next column, row and slice, mm. @type {readonly [Vec, Vec, Vec]} */
    this.steps = [
      [m[0], m[4], m[8]],
      [m[1], m[5], m[9]],
      [m[2], m[6], m[10]],
    ];
    /** Centre of voxel (0, 0, 0). @type {Vec} */
    this.origin = [m[3], m[7], m[11]];
    /** The middle of the volume. @type {Vec} */
    this.center = this.toPatient([(this.size[0] - 1) / 2, (this.size[1] - 1) / 2, (this.size[2] - 1) / 2]);
    /** The eight corners of the voxel-face box. @type {Vec[]} */
    this.corners = [0, 1, 2, 3, 4, 5, 6, 7].map((corner) =>
      this.toPatient([this.face(0, corner & 1), this.face(1, corner & 2), this.face(2, corner & 4)]),
    );
  }

  /** Index of a face of the box. @param {0 | 1 | 2} axis @param {number} far 0 for the near one. */
  face(axis, far) {
    return far ? this.size[axis] - 0.5 : -0.5;
  }

  /** @param {Vec} voxel Index (i, j, k). @returns {Vec} */
  toPatient(voxel) {
    return this.steps.reduce((sum, step, axis) => add(sum, scale(step, voxel[axis])), this.origin);
  }

  /** Whether a point lies within the volume's voxel faces. @param {Vec} point LPS mm. */
  contains(point) {
    const offset = subtract(point, this.origin);
    const [i, j, k] = this.steps;
    const volume = dot(cross(i, j), k);
    // Cramer's rule: the index along an axis.
    const index = [dot(cross(offset, j), k), dot(cross(i, offset), k), dot(cross(i, j), offset)];
    return index.every((part, axis) => part / volume >= -0.5 && part / volume <= this.size[axis] - 0.5);
  }

  /**
   * How far the volume reaches along a unit vector, and the distance of neighbouring slices across it.
   *
   * The step is that of the voxel axis nearest to the vector: the true slice distance of a stack that is seen along
   * its normal, tilted gantry or not.
   *
   * @param {Vec} normal
   * @returns {{from: number, to: number, step: number, count: number}} mm along `normal`, and how many steps.
   */
  extentAlong(normal) {
    const reach = this.corners.map((corner) => dot(corner, normal));
    const from = Math.min(...reach);
    const to = Math.max(...reach);
    const aligned = this.steps.map((step) => Math.abs(dot(step, normal)) / length(step));
    const step = Math.abs(dot(this.steps[aligned.indexOf(Math.max(...aligned))], normal));
    return { from, to, step, count: Math.max(1, Math.round((to - from) / step)) };
  }
}
