// Window menus, drags and figures as text.

import assert from "node:assert/strict";
import { test } from "node:test";

import { niceLength, scaleText } from "../../../client/web/lengths.js";
import { dragWindow, exactWindow, formatWindowNumber, presetsFor, projectionWindow, windowChoices } from "../../../client/web/presets.js";

const description = (modality, windows = []) => ({
  summary: { modality }, windows, default_window: exactWindow(5, 10), minimum_value: -1000, maximum_value: 3000,
});

test("the keys 1 to 8 are the CT windows for CT", () => {
  const keyed = windowChoices(description("CT", [exactWindow(1, 2)])).filter(({ key }) => key);
  assert.deepEqual(keyed.map(({ key }) => key), [..."12345678"]);
  assert.deepEqual([keyed[1].label, keyed[1].window.width, keyed[1].window.center], ["Lung", 1500, -600]);
});

test("the source's windows come first; automatic is always there", () => {
  const labels = (choices) => choices.map(({ label }) => label);
  const own = [{ ...exactWindow(1, 2), explanation: "BRAIN" }, { ...exactWindow(3, 4), explanation: "" }];
  assert.deepEqual(labels(windowChoices(description("MR", own))), ["BRAIN", "Source 2", "Auto (what is seen)", "Full range"]);
  assert.equal(windowChoices(description("MR"))[0].label, "Default");
  assert.deepEqual(windowChoices(description("MR", own)).map(({ key }) => key), [..."1234"]);
});

test("a dragged window is exact, wider to the right, higher downwards, and never empty", () => {
  const start = { center: 40, width: 400, function: "WINDOW_FUNCTION_LINEAR" };
  const dragged = dragWindow(start, 30, 20, description("CT"));
  assert.equal(dragged.function, "WINDOW_FUNCTION_LINEAR_EXACT");
  assert.ok(dragged.width > 400 && dragged.center > 40);
  assert.ok(dragWindow(start, -1e6, 0, description("CT")).width > 0);
});

test("figures are short", () => {
  assert.deepEqual([400, -600, 0.1234, 12.345, 0, 12345.6].map(formatWindowNumber), ["400", "-600", "0.12", "12.35", "0", "12346"]);
});

test("scale bars have round lengths", () => {
  assert.deepEqual([99, 100, 49.9, 19, 0.7].map(niceLength), [50, 100, 20, 10, 0.5]);
  assert.deepEqual([100, 20, 5, 0.5].map((mm) => scaleText(mm, "PIXEL_SCALE_PATIENT")), ["10 cm", "2 cm", "5 mm", "500 µm"]);
});

test("a projection of a whole CT gets its own window, until the reader has chosen one", () => {
  const ct = description("CT");
  const maximum = projectionWindow(ct, "MAXIMUM_IP", ct.default_window);
  assert.deepEqual([maximum.width, maximum.center], [1200, 400]);
  assert.equal(projectionWindow(ct, "VOLUME_RENDERED", maximum), ct.default_window);
  const chosen = exactWindow(1, 2);
  assert.equal(projectionWindow(ct, "MAXIMUM_IP", chosen), chosen);
  const named = (method) => windowChoices(ct).find(({ window }) => window === projectionWindow(ct, method, ct.default_window));
  assert.deepEqual([named("MAXIMUM_IP"), named("MINIMUM_IP")].map(({ label, key }) => [label, key]), [["MIP", ""], ["MinIP", ""]]);
  const mr = description("MR");
  assert.ok(!windowChoices(mr).some(({ label }) => label.endsWith("IP")));
  assert.equal(projectionWindow(mr, "MAXIMUM_IP", mr.default_window), mr.default_window);
});

test("a maximum over a whole PET begins at 0 and reaches beyond a plane's window, to the maximum at most", () => {
  const pet = { ...description("PT"), default_window: { ...exactWindow(100, 200), explanation: "auto" } };
  const figures = (window) => [window.width, window.center];
  assert.deepEqual(figures(projectionWindow(pet, "MAXIMUM_IP", pet.default_window)), [600, 300]);
  assert.deepEqual(figures(projectionWindow({ ...pet, maximum_value: 500 }, "MAXIMUM_IP", pet.default_window)), [500, 250]);
  const told = { ...pet, default_window: exactWindow(100, 200) };
  assert.deepEqual(figures(projectionWindow(told, "MAXIMUM_IP", told.default_window)), [200, 100]);
  assert.ok(windowChoices(pet).some(({ label }) => label === "Projection"));
});

test("no two windows have the same figures, and the source's name and key stand together", () => {
  const linear = (center, width, explanation) => ({ center, width, function: "WINDOW_FUNCTION_LINEAR", explanation });
  const choices = windowChoices(description("CT", [linear(40, 400, "MEDIASTINUM"), linear(-600, 1500, ""), linear(1, 2, "Liver")]));
  const figures = choices.filter(({ window }) => window !== "auto").map(({ window }) => `${window.width} ${window.center}`);
  assert.equal(new Set(figures).size, figures.length);
  assert.equal(new Set(choices.map(({ label }) => label)).size, choices.length);
  const keyed = choices.filter(({ key }) => key);
  assert.deepEqual(keyed.map(({ key }) => key), [..."12345678"]);
  assert.deepEqual(keyed.slice(0, 3).map(({ label }) => label), ["MEDIASTINUM (source)", "Lung (source)", "Liver"]);
  assert.equal(choices[0].label, "Liver (source)");
  assert.equal(keyed[0].window.function, "WINDOW_FUNCTION_LINEAR");
});

test("presets of volume rendering are those of the modality", () => {
  const all = ["CT-Bone", "MR-Angio"];
  assert.deepEqual([presetsFor(all, "CT"), presetsFor(all, "MR"), presetsFor(all, "PT")], [["CT-Bone"], ["MR-Angio"], all]);
});
