/**
 * The page's side of the decoder's worker.
 *
 * @module decoder
 */

/** @typedef {import("./decode.js").Decoded} Decoded */

/** Decodes frames in a worker; several at a time, which may end in any order. */
export class Decoder {
  constructor() {
    this.worker = new Worker(new URL("./decoder-worker.js", import.meta.url), { type: "module" });
    this.lastId = 0;
    /** @type {Map<number, {resolve: (decoded: Decoded) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = /** @type {any} */ (this.waiting.get(data.id));
      this.waiting.delete(data.id);
      if (data.error === undefined) resolve(data.decoded);
      else reject(new Error(data.error));
    };
  }

  /**
   * @param {any} header FrameHeader.
   * @param {Uint8Array} payload Given away.
   * @returns {Promise<Decoded>} Rejected if the checksum, the size or the encoding is wrong.
   */
  decode(header, payload) {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, header, payload }, [payload.buffer]);
    });
  }
}
