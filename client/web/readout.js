/**
 * What a frame says of one pixel, as text.
 *
 * @module readout
 */

import { OUTSIDE } from "./decode.js";
import { patientFromPixel } from "./view-state.js";
import { formatValue } from "./windowing.js";

/**
 * The value under a point with its unit, or the colour; empty outside the frame.
 *
 * @param {import("./pane.js").Arrived} arrived Exact, and with codes or colours.
 * @param {{x: number, y: number}} pixel Viewport px.
 * @param {import("./geometry.js").VolumeGeometry | null} geometry Where a colour image ends: its frames do not say.
 */
export function pixelText({ header, decoded: { codes, rgba }, asked }, pixel, geometry) {
  const [column, row] = [Math.floor(pixel.x), Math.floor(pixel.y)];
  if (column < 0 || row < 0 || column >= header.width_px || row >= header.height_px) return "";
  const index = row * header.width_px + column;
  if (codes) {
    const code = codes[index];
    if (code === OUTSIDE) return "outside";
    const value = code * header.value_slope + header.value_intercept;
    return `${formatValue(value, header.value_slope)} ${header.units}`.trim();
  }
  if (!rgba) return "";
  const point = patientFromPixel(asked.state, asked.viewport, column + 0.5, row + 0.5);
  const [red, green, blue] = rgba.subarray(4 * index);
  return geometry?.contains(point) ? `R ${red} G ${green} B ${blue}` : "outside";
}
