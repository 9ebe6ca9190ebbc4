/**
 * Windows that a reader expects, by modality.
 *
 * @module presets
 */

/** @typedef {import("./view-state.js").Window} Window */
/** @typedef {{label: string, window: Window | "auto", key: string}} WindowChoice `key`: 1 to 8, or empty. */

/** Width, centre in HU; in the order of the keys 1 to 8. @type {[string, number, number][]} */
const CT_WINDOWS = [
  ["Soft tissue", 400, 40],
  ["Lung", 1500, -600],
  ["Liver", 150, 90],
  ["Bone", 2500, 480],
  ["Brain", 80, 40],
  ["Stroke", 40, 40],
  ["Mediastinum", 400, 80],
  ["Angio", 600, 300],
];
const KEYS = 8;
/** Windows in which a projection of a whole CT shows more than white or black. @type {Record<string, Window>} */
const CT_PROJECTION_WINDOWS = {
  MAXIMUM_IP: { center: 400, width: 1200, function: "WINDOW_FUNCTION_LINEAR_EXACT" },
  MINIMUM_IP: { center: -800, width: 600, function: "WINDOW_FUNCTION_LINEAR_EXACT" },
};

/**
 * @param {number} center
 * @param {number} width
 * @returns {Window} As dragged and preset windows are: with exact bounds.
 */
export const exactWindow = (center, width) => ({ center, width, function: "WINDOW_FUNCTION_LINEAR_EXACT" });

/** @param {Window} a @param {Window} b */
export const sameWindow = (a, b) => a.center === b.center && a.width === b.width && a.function === b.function;

/**
 * The window menu of a volume: the source's own first, then automatic, then those of its modality.
 *
 * The keys 1 to 8 are the CT windows for CT, and the menu's own order for everything else.
 *
 * @param {any} description VolumeDescription.
 * @returns {WindowChoice[]}
 */
export function windowChoices(description) {
  const own = description.windows.map((/** @type {Window} */ window, /** @type {number} */ index) => ({
    label: window.explanation || (description.windows.length > 1 ? `Source ${index + 1}` : "Source"),
    window,
  }));
  if (own.length === 0) own.push({ label: "Default", window: description.default_window });
  const { minimum_value: low, maximum_value: high } = description;
  const general = [{ label: "Auto (what is seen)", window: /** @type {const} */ ("auto") }];
  if (high > low) general.push({ label: "Full range", window: /** @type {any} */ (exactWindow((low + high) / 2, high - low)) });
  const isCt = description.summary.modality === "CT";
  const ct = isCt ? CT_WINDOWS.map(([label, width, center]) => ({ label, window: exactWindow(center, width) })) : [];
  const all = [...own, ...general, ...ct];
  const firstKey = isCt ? all.length - ct.length : 0;
  return all.map((choice, index) => {
    const number = index - firstKey + 1;
    return { ...choice, key: number >= 1 && number <= KEYS ? String(number) : "" };
  });
}

/**
 * The window for a projection of the whole volume, unless the reader has chosen one.
 *
 * @param {any} description VolumeDescription.
 * @param {string} method RenderingMethod without its prefix.
 * @param {Window} present
 * @returns {Window}
 */
export function projectionWindow(description, method, present) {
  const { default_window: first, summary } = description;
  if (summary.modality !== "CT") return present;
  const untouched = [first, ...Object.values(CT_PROJECTION_WINDOWS)].some((window) => sameWindow(window, present));
  return untouched ? (CT_PROJECTION_WINDOWS[method] ?? first) : present;
}

/**
 * Change a window by a drag: across for the width, down for the centre, in proportion to the width.
 *
 * @param {Window} window
 * @param {number} dx CSS pixels.
 * @param {number} dy
 * @param {{minimum_value: number, maximum_value: number}} range Of the volume.
 * @returns {Window}
 */
export function dragWindow(window, dx, dy, range) {
  const span = range.maximum_value - range.minimum_value || 1;
  const perPixel = Math.max(window.width, span / 200) / 256;
  const least = span / 1e4;
  // Rounded to what the display of the window says, so that what is read is what applies.
  const grain = 10 ** Math.floor(Math.log10(perPixel));
  /** @param {number} value */
  const round = (value) => Number((Math.round(value / grain) * grain).toPrecision(12));
  return exactWindow(round(window.center + dy * perPixel), Math.max(least, round(window.width + dx * perPixel)));
}

/** A number of a window as text: four significant digits, no more than two decimals. @param {number} value */
export function formatWindowNumber(value) {
  const digits = Math.max(0, Math.min(2, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));
  return String(Number(value.toFixed(digits)));
}
