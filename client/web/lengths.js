/**
 * Lengths as text: the patient's, those at a detector, or pixels where nothing more is known of an image.
 *
 * @module lengths
 */

const UNKNOWN = "PIXEL_SCALE_UNKNOWN";
const DETECTOR = "PIXEL_SCALE_DETECTOR";

/**
 * The longest of 1, 2 and 5 times a power of ten that is not longer than `limit`.
 *
 * @param {number} limit mm.
 */
export function niceLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  const factor = [5, 2, 1].find((candidate) => candidate * power <= limit) ?? 1;
  return factor * power;
}

/** @param {number} mm */
function formatLength(mm) {
  if (mm >= 10) return `${Number((mm / 10).toPrecision(3))} cm`;
  return mm >= 1 ? `${mm} mm` : `${Number((mm * 1000).toPrecision(3))} µm`;
}

/** Behind lengths that are larger than the patient's. @param {string} scale PixelScale of the wire. */
const caveat = (scale) => (scale === DETECTOR ? " at detector" : "");

/** A round length, as a scale bar has. @param {number} mm @param {string} scale PixelScale of the wire. */
export const scaleText = (mm, scale) => (scale === UNKNOWN ? `${Number(mm.toPrecision(3))} px` : formatLength(mm) + caveat(scale));

/** A length that was measured. @param {number} mm @param {string} scale PixelScale of the wire. */
export const lengthText = (mm, scale) => (scale === UNKNOWN ? `${mm.toFixed(0)} px` : `${mm.toFixed(1)} mm${caveat(scale)}`);
