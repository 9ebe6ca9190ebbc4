// The lossless encodings undone, and the checksum.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 as zlibCrc32, deflateRawSync } from "node:zlib";

import { crc32, decodeFrame, OUTSIDE, undoRgba, undoValues } from "../../../client/web/decode.js";

/** Deterministic numbers, 0 to 2^32 - 1. */
function* numbers(seed) {
  for (let state = seed; ; yield state) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
}

function randomBytes(count, seed = 7) {
  const source = numbers(seed);
  return Uint8Array.from({ length: count }, () => source.next().value >>> 24);
}

/** As proto/render/v1/frame.proto describes VALUES_DEFLATE. */
function encodeValues(codes, width) {
  const low = [];
  const high = [];
  codes.forEach((code, at) => {
    const delta = ((code - (at % width ? codes[at - 1] : 0)) << 16) >> 16;
    const zigzag = ((delta << 1) ^ (delta >> 15)) & 0xffff;
    low.push(zigzag & 255);
    high.push(zigzag >> 8);
  });
  return Uint8Array.from([...low, ...high]);
}

function header(payload, fields) {
  return { payload_crc32: zlibCrc32(payload), ...fields };
}

test("CRC-32 is zlib's, whatever the length", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  for (const length of [0, 1, 2, 3, 4, 5, 63, 64, 1000]) {
    const bytes = randomBytes(length, length + 1);
    assert.equal(crc32(bytes), zlibCrc32(bytes));
  }
});

test("values survive, the extremes and what lies outside included", () => {
  const source = numbers(3);
  const codes = Array.from({ length: 7 * 5 }, () => source.next().value >>> 16);
  codes.splice(3, 4, 0, OUTSIDE, 0, 32768);
  assert.deepEqual([...undoValues(encodeValues(codes, 7), 7, 5)], codes);
});

test("colours survive, channel by channel", () => {
  const rgba = randomBytes(4 * 6 * 3);
  const planes = [];
  for (let channel = 0; channel < 4; channel++) {
    for (let at = 0; at < 18; at++) {
      planes.push((rgba[4 * at + channel] - (at % 6 ? rgba[4 * (at - 1) + channel] : 0)) & 255);
    }
  }
  assert.deepEqual([...undoRgba(Uint8Array.from(planes), 6, 3)], [...rgba]);
});

test("a frame is decoded when its checksum is right", async () => {
  const codes = [5, 6, 9, 2, 65535, 0];
  const payload = new Uint8Array(deflateRawSync(encodeValues(codes, 3)));
  const fields = { encoding: "FRAME_ENCODING_VALUES_DEFLATE", width_px: 3, height_px: 2 };
  const decoded = await decodeFrame(header(payload, fields), payload);
  assert.deepEqual([...decoded.codes], codes);
});

test("opaque over black: colours that are premultiplied stay as they are", async () => {
  const payload = Uint8Array.from([10, 20, 30, 40, 1, 2, 3, 0]);
  const fields = { encoding: "FRAME_ENCODING_RGBA8", width_px: 2, height_px: 1 };
  const decoded = await decodeFrame(header(payload, fields), payload);
  assert.deepEqual([...decoded.rgba], [10, 20, 30, 255, 1, 2, 3, 255]);
});

test("what is damaged, too short or unknown is refused", async () => {
  const payload = new Uint8Array(deflateRawSync(encodeValues([1, 2, 3, 4], 2)));
  const fields = { encoding: "FRAME_ENCODING_VALUES_DEFLATE", width_px: 2, height_px: 2 };
  const right = header(payload, fields);
  await assert.rejects(decodeFrame({ ...right, payload_crc32: right.payload_crc32 ^ 1 }, payload), /CRC-32/);
  await assert.rejects(decodeFrame({ ...right, height_px: 3 }, payload), /8 bytes inflated, 12 expected/);
  await assert.rejects(decodeFrame({ ...right, encoding: "FRAME_ENCODING_NEW" }, payload), /unknown encoding/);
});
