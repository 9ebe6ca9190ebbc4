/**
 * Codes to gray: the server's own arithmetic (Window.apply and to_gray8 of render/transfer.py), in float64, so that
 * the pixels are the same.
 *
 * @module windowing
 */

import { OUTSIDE } from "./decode.js";

/** @typedef {import("./view-state.js").Window} Window */

/**
 * A value through a window, 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3).
 *
 * @param {Window} window
 * @param {number} value
 */
export function applyWindow(window, value) {
  if (window.function === "WINDOW_FUNCTION_VOI_LUT") return lookUp(tableOf(window), value);
  if (window.function === "WINDOW_FUNCTION_SIGMOID") {
    return 1 / (1 + Math.exp((-4 * (value - window.center)) / window.width));
  }
  let { center, width } = window;
  if (window.function === "WINDOW_FUNCTION_LINEAR") {
    center -= 0.5;
    width -= 1;
    if (width === 0) return value <= center ? 0 : 1;
  }
  return Math.min(1, Math.max(0, (value - center) / width + 0.5));
}

/** @typedef {{first: number, largest: number, entries: Uint16Array}} Table */

/** Decoded tables, by the message that they came in. @type {WeakMap<object, Table>} */
const tables = new WeakMap();

/** The VOI LUT that stands in a window's place. @param {Window} window @returns {Table} */
function tableOf({ table: message }) {
  let table = tables.get(message);
  if (!table) {
    const bytes = Uint8Array.from(atob(message.entries), (letter) => letter.charCodeAt(0));
    const entries = Uint16Array.from({ length: bytes.length >> 1 }, (_, at) => bytes[2 * at] | (bytes[2 * at + 1] << 8));
    table = { first: message.first, largest: 2 ** message.bits - 1, entries };
    tables.set(message, table);
  }
  return table;
}

/** A value through a table, 0 to 1; fractions go to the nearest entry, halves to the even one. @param {Table} table @param {number} value */
function lookUp({ first, largest, entries }, value) {
  const floor = Math.floor(value);
  const up = value - floor > 0.5 || (value - floor === 0.5 && floor % 2 !== 0);
  const at = Math.min(entries.length - 1, Math.max(0, floor + (up ? 1 : 0) - first));
  return entries[at] / largest;
}

/**
 * The gray of every code.
 *
 * @param {Window} window
 * @param {number} slope Of the frame: value = code * slope + intercept.
 * @param {number} intercept
 * @param {boolean} inverted
 * @returns {Uint8Array} 65536 grays; outside is shown as the lowest value is.
 */
export function grayTable(window, slope, intercept, inverted) {
  const table = new Uint8Array(65536);
  for (let code = 0; code < OUTSIDE; code++) {
    table[code] = Math.floor(applyWindow(window, code * slope + intercept) * 255 + 0.5);
  }
  table[OUTSIDE] = 0;
  if (inverted) for (let code = 0; code <= OUTSIDE; code++) table[code] = 255 - table[code];
  return table;
}

/**
 * @param {Uint16Array} codes
 * @param {Uint8Array} table Of grayTable.
 * @param {Uint32Array} pixels RGBA, as many as there are codes; written.
 */
export function paintCodes(codes, table, pixels) {
  for (let at = 0; at < codes.length; at++) pixels[at] = 0xff000000 | (table[codes[at]] * 0x010101);
}

/**
 * A window over what is seen: the 1st to the 99th percentile of the codes inside.
 *
 * @param {Uint16Array} codes
 * @param {number} slope
 * @param {number} intercept
 * @returns {Window | null} Null if nothing is inside.
 */
export function autoWindow(codes, slope, intercept) {
  const counts = new Uint32Array(65536);
  for (const code of codes) counts[code]++;
  const inside = codes.length - counts[OUTSIDE];
  if (inside === 0) return null;
  /** @param {number} fraction */
  const percentile = (fraction) => {
    let seen = 0;
    for (let code = 0; code < OUTSIDE; code++) {
      seen += counts[code];
      if (seen > fraction * (inside - 1)) return code * slope + intercept;
    }
    return 0;
  };
  const low = percentile(0.01);
  const high = percentile(0.99);
  return { center: (low + high) / 2, width: Math.max(high - low, slope), function: "WINDOW_FUNCTION_LINEAR_EXACT" };
}

/**
 * A value with no more digits than the frame is exact to.
 *
 * @param {number} value
 * @param {number} slope Of the frame.
 */
export function formatValue(value, slope) {
  const digits = Math.min(6, Math.max(0, Math.floor(-Math.log10(slope))));
  return value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");
}
