// What is said of a picture that is waited for.

import assert from "node:assert/strict";
import { test } from "node:test";

import { waitText } from "../../../client/web/first-picture.js";

test("while nothing is compiled it is merely drawn", () => {
  assert.match(waitText(null), /^Drawing the first picture/);
});

test("a picture takes four parts' time, rounded up; before the first part that is not known", () => {
  assert.match(waitText({ done: 0, total: 20, seconds: 0 }), /0 of 20 parts\.$/);
  assert.match(waitText({ done: 4, total: 20, seconds: 8 }), /4 of 20 parts\. .* about 10 s\.$/);
  assert.match(waitText({ done: 19, total: 20, seconds: 1 }), /19 of 20 parts\. .* about 5 s\.$/);
});
