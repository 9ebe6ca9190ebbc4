// The window's arithmetic. That whole pictures equal the server's is shown in the browsers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { applyWindow, autoWindow, formatValue, grayTable, paintCodes } from "../../../client/web/windowing.js";

const window = (center, width, kind) => ({ center, width, function: `WINDOW_FUNCTION_${kind}` });

test("linear exact reaches from center - width / 2 to center + width / 2", () => {
  const exact = window(40, 400, "LINEAR_EXACT");
  assert.deepEqual([-161, -160, 40, 240, 241].map((value) => applyWindow(exact, value)), [0, 0, 0.5, 1, 1]);
});

test("linear has DICOM's half-value offsets: width 5 at 2.5 spans 0 to 4", () => {
  const linear = window(2.5, 5, "LINEAR");
  assert.deepEqual([-1, 0, 2, 4, 5].map((value) => applyWindow(linear, value)), [0, 0, 0.5, 1, 1]);
});

test("linear of width 1 is a step, not a division by zero", () => {
  const step = window(10.5, 1, "LINEAR");
  assert.deepEqual([9, 10, 10.01].map((value) => applyWindow(step, value)), [0, 0, 1]);
});

test("sigmoid has the factor 4", () => {
  const sigmoid = window(0, 4, "SIGMOID");
  assert.equal(applyWindow(sigmoid, 0), 0.5);
  assert.ok(Math.abs(applyWindow(sigmoid, 1) - 1 / (1 + Math.exp(-1))) < 1e-15);
  assert.equal(applyWindow(sigmoid, -1e6), 0);
});

test("outside is black, or white when inverted", () => {
  const exact = window(50, 100, "LINEAR_EXACT");
  const table = grayTable(exact, 1, 0, false);
  assert.deepEqual([table[0], table[50], table[100], table[65535]], [0, 128, 255, 0]);
  const inverted = grayTable(exact, 1, 0, true);
  assert.deepEqual([inverted[0], inverted[50], inverted[100], inverted[65535]], [255, 127, 0, 255]);
});

test("codes go through slope and intercept", () => {
  const table = grayTable(window(0, 2, "LINEAR_EXACT"), 0.125, -1, false);
  assert.deepEqual([table[0], table[8], table[16]], [0, 128, 255]);
});

test("gray is opaque and equal in all channels", () => {
  const pixels = new Uint32Array(2);
  paintCodes(Uint16Array.from([0, 100]), grayTable(window(50, 100, "LINEAR_EXACT"), 1, 0, false), pixels);
  assert.deepEqual([...new Uint8Array(pixels.buffer)], [0, 0, 0, 255, 255, 255, 255, 255]);
});

test("an automatic window spans the 1st to the 99th percentile of what is inside", () => {
  const codes = Uint16Array.from([...Array(1001).keys(), ...Array(500).fill(65535)]);
  const auto = autoWindow(codes, 2, -100);
  assert.equal(auto.center - auto.width / 2, 2 * 10 - 100);
  assert.equal(auto.center + auto.width / 2, 2 * 990 - 100);
  assert.equal(autoWindow(Uint16Array.from([65535]), 1, 0), null);
});

test("a readout shows no more digits than the frame is exact to", () => {
  assert.equal(formatValue(41.875, 0.125), "42");
  assert.equal(formatValue(41.875, 1), "42");
  assert.equal(formatValue(0.123456, 2 ** -10), "0.123");
  assert.equal(formatValue(-0.2, 1), "0");
});

test("a VOI LUT holds its ends, rounds halves to even as the server does, and scales by its bits", () => {
  const entries = btoa(String.fromCharCode(0, 0, 0, 1, 255, 3)); // 0, 256, 1023
  const lut = { ...window(0, 3, "VOI_LUT"), voi_lut: 0, table: { first: -1, bits: 10, entries } };
  assert.deepEqual([-9, -1, -0.5, 0.5, 1.5, 9].map((value) => applyWindow(lut, value) * 1023), [0, 0, 256, 256, 1023, 1023]);
  assert.deepEqual([...grayTable(lut, 1, -1, false).slice(0, 4)], [0, 64, 255, 255]);
});
