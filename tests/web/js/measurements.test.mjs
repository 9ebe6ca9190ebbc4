// Which pictures show a line, what it is called, and what goes with it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { VolumeGeometry } from "../../../client/web/geometry.js";
import { lengthText, scaleText } from "../../../client/web/lengths.js";
import { Measurements, liesIn, lineLength } from "../../../client/web/measurements.js";

/** Slices 3 mm apart. */
const geometry = new VolumeGeometry({
  columns: 40, rows: 30, slices: 20, patient_from_voxel: [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1],
});

function axial(z, slab = 0) {
  return { slab, camera: { position: [10, 10, z - 100], lookAt: [10, 10, z], up: [0, -1, 0], parallelScale: 60 } };
}

test("a line is the patient's: its length needs no picture", () => {
  assert.equal(lineLength({ from: [1, 2, 3], to: [4, 6, 15] }), 13);
});

test("the slice that it was drawn in shows it, a slab that holds both ends too, and nothing else", () => {
  const line = { from: [1, 1, 30], to: [9, 4, 30] };
  assert.ok(liesIn(line, axial(30), geometry));
  assert.ok(!liesIn(line, axial(33), geometry));
  assert.ok(!liesIn(line, axial(27), geometry));
  assert.ok(liesIn(line, axial(34, 10), geometry));
  assert.ok(!liesIn(line, axial(36, 10), geometry));
  assert.ok(!liesIn({ from: [1, 1, 30], to: [1, 1, 36] }, axial(30), geometry), "through the plane");
  const coronal = { slab: 0, camera: { position: [10, -100, 10], lookAt: [10, 1, 10], up: [0, 0, 1], parallelScale: 60 } };
  assert.ok(!liesIn(line, coronal, geometry));
  assert.ok(liesIn({ from: [1, 1, 30], to: [9, 1, 40] }, coronal, geometry));
});

test("between two slices it belongs to one of them, not to both", () => {
  const line = { from: [1, 1, 31.5], to: [9, 4, 31.5] };
  assert.deepEqual([30, 33].filter((z) => liesIn(line, axial(z), geometry)), []);
  const nearer = { from: [1, 1, 31.4], to: [9, 4, 31.4] };
  assert.deepEqual([30, 33].filter((z) => liesIn(nearer, axial(z), geometry)), [30]);
});

test("lines are kept by series", () => {
  const measurements = new Measurements();
  measurements.open("a");
  measurements.begin([0, 0, 0]).to = [3, 4, 0];
  measurements.open("b");
  assert.deepEqual([measurements.lines.length, measurements.selected], [0, null]);
  measurements.open("a");
  assert.deepEqual(measurements.lines.map(lineLength), [5]);
});

test("the selected line is removed, else all; a slip of the hand is no line", () => {
  const measurements = new Measurements();
  measurements.open("a");
  for (const x of [1, 2, 3]) measurements.begin([0, 0, 0]).to = [x, 0, 0];
  measurements.selected = measurements.lines[1];
  measurements.remove();
  assert.deepEqual(measurements.lines.map(lineLength), [1, 3]);
  measurements.begin([5, 5, 5]);
  measurements.settle();
  assert.deepEqual(measurements.lines.map(lineLength), [1, 3]);
  measurements.remove();
  assert.deepEqual(measurements.lines, []);
});

test("lengths are the patient's, at the detector, or pixels", () => {
  assert.equal(lengthText(12.34, "PIXEL_SCALE_PATIENT"), "12.3 mm");
  assert.equal(lengthText(12.34, "PIXEL_SCALE_DETECTOR"), "12.3 mm at detector");
  assert.equal(lengthText(12.34, "PIXEL_SCALE_UNKNOWN"), "12 px");
  assert.equal(scaleText(100, "PIXEL_SCALE_DETECTOR"), "10 cm at detector");
  assert.equal(scaleText(100, "PIXEL_SCALE_UNKNOWN"), "100 px");
});
