// Cameras: scroll, pan, zoom, rotate, letters, crosshair.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fit, fitNative, resize } from "../../../client/web/fitting.js";
import { VolumeGeometry } from "../../../client/web/geometry.js";
import { edgeLetters, letters } from "../../../client/web/letters.js";
import { pan, roll, rotate, zoom } from "../../../client/web/moves.js";
import { moveThrough, planePosition, scrollBy, scrollDirection, slicePosition } from "../../../client/web/slices.js";
import { cross, dot, length, subtract } from "../../../client/web/vector.js";
import { basis, cutDirection, fromWire, halfHeight, patientFromPixel, pixelFromPatient, pixelSpacing, toWire } from "../../../client/web/view-state.js";

const viewport = { width: 400, height: 300 };

/** 40 x 30 x 20 voxels of 1 x 2 x 3 mm, the first at (10, 20, 30). */
const straight = new VolumeGeometry({
  columns: 40, rows: 30, slices: 20, patient_from_voxel: [1, 0, 0, 10, 0, 2, 0, 20, 0, 0, 3, 30, 0, 0, 0, 1],
});

/** A gantry tilted by 3-4-5: slices 4 mm apart along their normal, shifted by 3 mm each. */
const tilted = new VolumeGeometry({
  columns: 10, rows: 10, slices: 10, patient_from_voxel: [1, 0, 0, 0, 0, 0.8, 0, 0, 0, 0.6, 5, 0, 0, 0, 0, 1],
});

function plane(direction, up, changes = {}) {
  const lookAt = [30, 50, 60];
  return {
    volumeId: "v", slab: 0, method: "AVERAGE_IP", window: { center: 0, width: 1, function: "" }, invert: false,
    transfer: null, flipHorizontal: false, flipVertical: false,
    camera: { position: lookAt.map((x, axis) => x - 100 * direction[axis]), lookAt, up, parallelScale: 60 },
    ...changes,
  };
}
const axial = (changes) => plane([0, 0, 1], [0, -1, 0], changes);
const coronal = () => plane([0, 1, 0], [0, 0, 1]);
const sagittal = () => plane([-1, 0, 0], [0, 0, 1]);

function close(actual, expected, tolerance = 1e-9) {
  assert.equal(actual.length, expected.length);
  actual.forEach((x, at) => assert.ok(Math.abs(x - expected[at]) < tolerance, `${actual} is not ${expected}`));
}

test("the basis is right-handed: right x down = forward", () => {
  const { right, down, forward } = basis(plane([0.6, 0.48, 0.64], [0.1, -1, 0.2]).camera);
  close(cross(right, down), forward);
  close([length(right), length(down), dot(right, down)], [1, 1, 0]);
});

test("letters of the three planes", () => {
  const text = (state) => Object.values(edgeLetters(state)).join(" ");
  assert.equal(text(axial()), "R L A P");
  assert.equal(text(coronal()), "R L H F");
  assert.equal(text(sagittal()), "A P H F");
  assert.equal(text(axial({ flipHorizontal: true })), "L R A P");
  assert.equal(text(axial({ flipVertical: true })), "R L P A");
});

test("letters of an oblique direction, the largest first", () => {
  assert.equal(letters([0.8, -0.6, 0]), "LA");
  assert.equal(letters([-0.36, 0.48, -0.8]), "FPR");
  assert.equal(letters([0.999, 0.04, 0]), "L");
});

test("a point and its pixel are each other's inverse, flipped or not", () => {
  for (const flips of [{}, { flipHorizontal: true }, { flipVertical: true, flipHorizontal: true }]) {
    const state = plane([0.6, 0.48, 0.64], [0.1, -1, 0.2], flips);
    const point = patientFromPixel(state, viewport, 31, 207);
    const { x, y } = pixelFromPatient(state, viewport, point);
    close([x, y], [31, 207]);
  }
  // The first pixel's centre is at 0.5: the centre of the viewport is where it looks at.
  close(patientFromPixel(axial(), viewport, 200, 150), [30, 50, 60]);
});

test("pan moves the picture with the hand", () => {
  const state = axial();
  const point = patientFromPixel(state, viewport, 100, 100);
  const { x, y } = pixelFromPatient(pan(state, viewport, 12, -7), viewport, point);
  close([x, y], [112, 93]);
  const flipped = axial({ flipHorizontal: true });
  const other = patientFromPixel(flipped, viewport, 100, 100);
  close([pixelFromPatient(pan(flipped, viewport, 12, 0), viewport, other).x], [112]);
});

test("zoom keeps what is under the pointer", () => {
  for (const projection of [{}, { fov: 30 }]) {
    const state = axial();
    if (projection.fov) state.camera = { position: state.camera.position, lookAt: state.camera.lookAt, up: [0, -1, 0], fov: 30 };
    const at = { x: 90, y: 40 };
    const point = patientFromPixel(state, viewport, at.x, at.y);
    const zoomed = zoom(state, viewport, 2, at);
    const { x, y } = pixelFromPatient(zoomed, viewport, point);
    close([x, y], [90, 40], 1e-6);
    close([halfHeight(zoomed.camera)], [halfHeight(state.camera) / 2]);
  }
});

test("a turn takes the front with the hand and keeps its distance", () => {
  const front = { ...coronal(), slab: null, method: "VOLUME_RENDERED" };
  const nearest = [30, 40, 60];
  const before = pixelFromPatient(front, viewport, nearest);
  const right = pixelFromPatient(rotate(front, 0.2, 0), viewport, nearest);
  const down = pixelFromPatient(rotate(front, 0, 0.2), viewport, nearest);
  assert.ok(right.x > before.x + 1 && Math.abs(right.y - before.y) < 1e-6);
  assert.ok(down.y > before.y + 1 && Math.abs(down.x - before.x) < 1e-6);
  const { position, lookAt } = rotate(front, 0.7, -0.4).camera;
  close([length(subtract(position, lookAt))], [100]);
  const mirrored = { ...front, flipHorizontal: true };
  assert.ok(pixelFromPatient(rotate(mirrored, 0.2, 0), viewport, nearest).x > before.x + 1);
});

test("a thousand small turns keep the camera straight", () => {
  let state = { ...coronal(), slab: null };
  for (let turn = 0; turn < 1000; turn++) state = rotate(state, 0.03, 0.017);
  const { position, lookAt, up } = state.camera;
  close([length(up), dot(up, subtract(lookAt, position)), length(subtract(position, lookAt))], [1, 0, 100], 1e-6);
});

test("a roll turns the picture clockwise", () => {
  assert.equal(edgeLetters(roll(axial(), Math.PI / 2)).right, "A");
  assert.equal(edgeLetters(roll(axial({ flipHorizontal: true }), Math.PI / 2)).right, "A");
});

test("slices are counted to the feet, to the back, and along the view", () => {
  close(scrollDirection(axial().camera), [0, 0, -1]);
  close(scrollDirection(coronal().camera), [0, 1, 0]);
  close(scrollDirection(sagittal().camera), [-1, 0, 0]);
});

test("a position's letters and its sign agree", () => {
  const at = (state, lookAt) => ({ ...state, camera: { ...state.camera, lookAt, position: subtract(lookAt, [0, 60, 80]) } });
  assert.equal(planePosition(axial()), "H 60.0 mm");
  const tiltedPlane = plane([0, 0.6, 0.8], [0, -0.8, 0.6]);
  // Counted to the feet: 0.6 * 50 + 0.8 * 60 towards the head and the back.
  assert.equal(planePosition(at(tiltedPlane, [30, 50, 60])), "HP 78.0 mm");
  assert.equal(planePosition(at(tiltedPlane, [30, -50, -60])), "FA 78.0 mm");
});

test("the wheel lands on voxel centres and stops at the last", () => {
  assert.deepEqual(slicePosition(axial(), straight), { index: 9, count: 20, step: 3 });
  const off = axial();
  off.camera = { ...off.camera, lookAt: [30, 50, 61.2], position: [30, 50, -40] };
  close(scrollBy(off, straight, 1).camera.lookAt, [30, 50, 57]);
  close(scrollBy(off, straight, 1e9).camera.lookAt, [30, 50, 30]);
  close(scrollBy(off, straight, -1e9).camera.lookAt, [30, 50, 30 + 19 * 3]);
});

test("a tilted stack scrolls by its true slice distance", () => {
  const normal = cross([1, 0, 0], [0, 0.8, 0.6]);
  const { step, count } = tilted.extentAlong(normal);
  close([step, count], [4, 10]);
});

test("a plane through a point moves along its normal only", () => {
  close(moveThrough(sagittal(), [12, 1, 2]).camera.lookAt, [12, 50, 60]);
});

test("fitted planes show all of the volume, centred, and leave room for the letters", () => {
  const fitted = fit(axial(), straight, viewport);
  close(fitted.camera.lookAt.slice(0, 2), [29.5, 49]);
  close([fitted.camera.lookAt[2], fitted.camera.parallelScale], [60, 30 * 1.08]);
  // Narrow: 40 mm across must fit into 100 of 300 pixels.
  close([fit(axial(), straight, { width: 100, height: 300 }).camera.parallelScale], [60 * 1.08]);
});

test("native pixels: a whole number for each voxel", () => {
  const native = fitNative(axial(), straight, { width: 400, height: 330 });
  close([1 / pixelSpacing(native, { width: 400, height: 330 })], [5]);
});

test("a resize keeps the zoom", () => {
  const wide = { width: 100, height: 300 };
  const zoomed = zoom(fit(axial(), straight, viewport), viewport, 2);
  const resized = resize(zoomed, straight, viewport, wide);
  close([resized.camera.parallelScale * 2], [fit(axial(), straight, wide).camera.parallelScale]);
});

test("planes cut each other in lines; parallel ones do not", () => {
  close(Object.values(cutDirection(axial(), sagittal())).map(Math.abs), [0, 1]);
  close(Object.values(cutDirection(axial(), coronal())).map(Math.abs), [1, 0]);
  assert.equal(cutDirection(axial(), axial()), null);
});

test("the wire's view and back", () => {
  const wire = toWire(axial({ invert: true }), viewport);
  assert.deepEqual(wire.viewport, { width_px: 400, height_px: 300, flip_horizontal: false, flip_vertical: false });
  assert.equal(wire.slab_mm, 0);
  assert.ok(!("slab_mm" in toWire(axial({ slab: null }), viewport)));
  assert.deepEqual(fromWire(wire, null), axial({ invert: true }));
});
