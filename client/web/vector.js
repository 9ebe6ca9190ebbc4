/**
 * Vectors of three numbers, as arrays. Nothing here changes its arguments.
 *
 * @module vector
 */

/** @typedef {readonly [number, number, number]} Vec */

/** @param {Vec} a @param {Vec} b @returns {Vec} */
export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];

/** @param {Vec} a @param {Vec} b @returns {Vec} */
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

/** @param {Vec} a @param {number} factor @returns {Vec} */
export const scale = (a, factor) => [a[0] * factor, a[1] * factor, a[2] * factor];

/** `a + b * factor`. @param {Vec} a @param {Vec} b @param {number} factor @returns {Vec} */
export const along = (a, b, factor) => [a[0] + b[0] * factor, a[1] + b[1] * factor, a[2] + b[2] * factor];

/** @param {Vec} a @param {Vec} b */
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** @param {Vec} a @param {Vec} b @returns {Vec} */
export const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

/** @param {Vec} a */
export const length = (a) => Math.hypot(a[0], a[1], a[2]);

/** Unit vector; `a` must have a length. @param {Vec} a @returns {Vec} */
export const normalize = (a) => scale(a, 1 / length(a));

/**
 * Rotate `a` about a unit axis through the origin, right-handed (Rodrigues).
 *
 * @param {Vec} a
 * @param {Vec} axis
 * @param {number} radians
 * @returns {Vec}
 */
export function rotateAbout(a, axis, radians) {
  const cosine = Math.cos(radians);
  const sine = Math.sin(radians);
  const turned = along(scale(a, cosine), cross(axis, a), sine);
  return along(turned, axis, dot(axis, a) * (1 - cosine));
}

/** From the wire's `{x, y, z}`. @param {{x: number, y: number, z: number}} v @returns {Vec} */
export const fromWire = (v) => [v.x, v.y, v.z];

/** To the wire's `{x, y, z}`. @param {Vec} a */
export const toWire = (a) => ({ x: a[0], y: a[1], z: a[2] });
