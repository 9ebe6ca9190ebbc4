/**
 * Decodes frames away from the page's own thread.
 *
 * Takes `{id, header, payload}`; answers `{id, decoded}` or `{id, error}`.
 *
 * @module decoder-worker
 */

import { decodeFrame } from "./decode.js";

const scope = /** @type {any} */ (self);

scope.onmessage = async (/** @type {MessageEvent} */ event) => {
  const { id, header, payload } = event.data;
  try {
    const decoded = await decodeFrame(header, payload);
    const pixels = decoded.bitmap ?? decoded.codes?.buffer ?? decoded.rgba?.buffer;
    scope.postMessage({ id, decoded }, [pixels]);
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
