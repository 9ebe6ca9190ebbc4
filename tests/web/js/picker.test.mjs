// What volumes are called in the list, what tells them apart, and how they are found.

import assert from "node:assert/strict";
import { test } from "node:test";

import { hasWords, volumeFacts, volumePlace, volumeTitle } from "../../../client/web/picker.js";

const file = { description: "", path: "study/export/IM0001.dcm" };
const chest = { description: "Chest 1.0", path: "a/CT1", series_number: 2 };
const again = { description: "Chest 1.0", path: "b/CT1", series_number: 7 };
const liver = { description: "Liver", path: "a/CT2", series_number: 3 };

test("a file without a description has its own name, and its folder beside it", () => {
  assert.equal(volumeTitle(file), "IM0001.dcm");
  assert.equal(volumePlace(file, [file]), "study/export");
  assert.equal(volumePlace({ description: "", path: "IM0001.dcm" }, []), "");
});

test("what is called the same is told apart by number and path, and nothing else says them", () => {
  const all = [chest, again, liver];
  assert.deepEqual(all.map((one) => volumePlace(one, all)), ["Series 2 · a/CT1", "Series 7 · b/CT1", ""]);
});

test("words are found in any order, in parts and in any case", () => {
  assert.ok(hasWords("CT HELICAL CHEST 512 × 512", "chest ct"));
  assert.ok(hasWords("CT HELICAL CHEST", "heli"));
  assert.ok(!hasWords("CT HELICAL CHEST", "chest mr"));
  assert.ok(hasWords("CT", ""));
});

test("a spacing that is none is not written", () => {
  const film = { columns: 440, rows: 300, slices: 1, spacing_mm: [1, 1, 1], bytes: "2000000" };
  assert.equal(volumeFacts(film), "440 × 300 · 1 × 1 mm · 2 MB");
  assert.equal(volumeFacts(film, false), "440 × 300 · 2 MB");
});
