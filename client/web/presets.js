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
/** Behind the name of a source's window, where others may have the same name. */
export const SOURCE = " (source)";
/** How a server's window from statistics explains itself. */
const AUTOMATIC = "auto";
/** A maximum through a body over the 99th percentile of its voxels: three times leaves the liver gray and lesions black. */
const PET_PROJECTION_FACTOR = 3;
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
export const sameWindow = (a, b) =>
  a.center === b.center && a.width === b.width && a.function === b.function && (a.voi_lut ?? 0) === (b.voi_lut ?? 0);

/** Whether a window is a table of the source. @param {Window} window */
const isTable = (window) => window.function === "WINDOW_FUNCTION_VOI_LUT";

/**
 * The window menu of a volume: the source's own first, then automatic, then those of its modality. No two have the
 * same figures.
 *
 * The keys 1 to 8 are the CT windows for CT, and the menu's own order for everything else. A CT window that the source
 * has too stands in the place of its key, under the source's name.
 *
 * @param {any} description VolumeDescription.
 * @returns {WindowChoice[]}
 */
export function windowChoices(description) {
  const isCt = description.summary.modality === "CT";
  const own = description.windows.map((/** @type {Window} */ window, /** @type {number} */ index) => ({
    // A source's Mediastinum need not be that of the presets.
    label: window.explanation
      ? window.explanation + (isCt ? SOURCE : "")
      : `${isTable(window) ? "VOI LUT" : "Source"}${description.windows.length > 1 ? ` ${index + 1}` : ""}`,
    window,
  }));
  if (own.length === 0) own.push({ label: "Default", window: description.default_window });
  const { minimum_value: low, maximum_value: high } = description;
  const general = [{ label: "Auto (what is seen)", window: /** @type {Window | "auto"} */ ("auto") }];
  if (description.summary.modality === "PT") general.push({ label: "Projection", window: petProjectionWindow(description) });
  if (isCt) {
    general.push({ label: "MIP", window: CT_PROJECTION_WINDOWS.MAXIMUM_IP });
    general.push({ label: "MinIP", window: CT_PROJECTION_WINDOWS.MINIMUM_IP });
  }
  if (high > low) general.push({ label: "Full range", window: exactWindow((low + high) / 2, high - low) });
  const all = [...own, ...general].filter((choice, index, among) => among.findIndex(sameFigures(choice)) === index);
  if (!isCt) {
    return all.map((choice, index) => ({ ...choice, key: index < KEYS ? String(index + 1) : "" }));
  }
  const keyed = CT_WINDOWS.map(([label, width, center], index) => {
    const choice = { label, window: exactWindow(center, width) };
    const source = own.find(sameFigures(choice));
    const shown = source ? { ...source, label: source.label.endsWith(SOURCE) ? source.label : label + SOURCE } : choice;
    return { ...shown, key: String(index + 1) };
  });
  const others = all.filter((choice) => !keyed.some(sameFigures(choice)));
  return [...others.map((choice) => ({ ...choice, key: "" })), ...keyed];
}

/** @param {{window: Window | "auto"}} choice @returns {(other: {window: Window | "auto"}) => boolean} */
const sameFigures = ({ window: a }) => ({ window: b }) =>
  a === "auto" || b === "auto"
    ? a === b
    : a.center === b.center && a.width === b.width && isTable(a) === isTable(b) && (a.voi_lut ?? 0) === (b.voi_lut ?? 0);

/** A window as a reader says it. @param {Window} window */
export const windowText = (window) =>
  isTable(window)
    ? window.explanation || "VOI LUT"
    : `W ${formatWindowNumber(window.width)}  C ${formatWindowNumber(window.center)}`;

/**
 * The presets of volume rendering that are made for a modality; all of them where there are none.
 *
 * @param {string[]} presets
 * @param {string} modality
 */
export function presetsFor(presets, modality) {
  const own = presets.filter((name) => name.startsWith(`${modality}-`));
  return own.length > 0 ? own : presets;
}

/**
 * From nothing to what a maximum over a whole PET reaches: more than a plane does, where the window is from statistics.
 *
 * @param {any} description VolumeDescription.
 * @returns {Window}
 */
function petProjectionWindow({ default_window: first, maximum_value: high }) {
  const upper = first.center + first.width / 2;
  const wanted = first.explanation === AUTOMATIC ? upper * PET_PROJECTION_FACTOR : upper;
  const end = high > 0 ? Math.min(wanted, high) : wanted;
  return end > 0 ? exactWindow(end / 2, end) : first;
}

/**
 * By method, for a modality that needs them.
 *
 * @param {any} description VolumeDescription.
 * @returns {Record<string, Window>}
 */
function projectionWindows(description) {
  const { modality } = description.summary;
  if (modality === "PT") return { MAXIMUM_IP: petProjectionWindow(description) };
  return modality === "CT" ? CT_PROJECTION_WINDOWS : {};
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
  const { default_window: first } = description;
  const own = projectionWindows(description);
  const untouched = [first, ...Object.values(own)].some((window) => sameWindow(window, present));
  return untouched ? (own[method] ?? first) : present;
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
