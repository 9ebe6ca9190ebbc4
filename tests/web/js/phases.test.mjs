// Which summary stands for a volume, and how fast its phases follow each other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { holds, paceOf, phasesOf } from "../../../client/web/phases.js";

const cine = { volume_id: "a", phases: [{ volume_id: "a", label: "Frame 1" }, { volume_id: "b", label: "Frame 2" }], phase_ms: 40 };

test("a summary holds its own volume and its phases", () => {
  assert.deepEqual(["a", "b", "c", ""].map((id) => holds(cine, id)), [true, true, false, false]);
  assert.equal(holds(undefined, "a"), false);
  assert.deepEqual(phasesOf({ volume_id: "x" }), []);
});

test("the pace is the source's, within what a screen shows, or ten a second", () => {
  assert.equal(paceOf(cine), 40);
  assert.equal(paceOf({ phase_ms: 0 }), 100);
  assert.ok(Math.abs(paceOf({ phase_ms: 1 }) - 1000 / 60) < 1e-9);
});
