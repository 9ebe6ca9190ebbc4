/**
 * Payloads to pixels: the inverse of the server's lossless encodings, and the checksum that proves them.
 * Pure functions; they run in the decoder's worker and under Node.
 *
 * @module decode
 */

/** Code of a pixel outside the volume. */
export const OUTSIDE = 65535;

const CRC_TABLES = makeCrcTables();

/** Four tables, so that the loop takes four bytes a turn. */
function makeCrcTables() {
  const tables = [0, 1, 2, 3].map(() => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let table = 1; table < 4; table++) {
      const before = tables[table - 1][byte];
      tables[table][byte] = (before >>> 8) ^ tables[0][before & 255];
    }
  }
  return tables;
}

/**
 * CRC-32 as in zlib.
 *
 * @param {Uint8Array} bytes
 * @returns {number} Unsigned.
 */
export function crc32(bytes) {
  const [t0, t1, t2, t3] = CRC_TABLES;
  let crc = 0xffffffff;
  let at = 0;
  for (const whole = bytes.length - 3; at < whole; at += 4) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc = t3[crc & 255] ^ t2[(crc >>> 8) & 255] ^ t1[(crc >>> 16) & 255] ^ t0[crc >>> 24];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]) & 255];
  return ~crc >>> 0;
}

/**
 * Undo raw deflate.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<Uint8Array>}
 */
async function inflateRaw(bytes) {
  const stream = new Response(/** @type {BodyInit} */ (bytes)).body?.pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * VALUES_DEFLATE once inflated: the low bytes of all pixels, then the high bytes, of zigzagged horizontal deltas.
 *
 * @param {Uint8Array} planes
 * @param {number} width
 * @param {number} height
 * @returns {Uint16Array} Codes, row by row.
 */
export function undoValues(planes, width, height) {
  const count = width * height;
  expectBytes(planes, 2 * count);
  const codes = new Uint16Array(count);
  for (let row = 0, at = 0; row < height; row++) {
    let code = 0;
    for (const end = at + width; at < end; at++) {
      const zigzag = planes[at] | (planes[at + count] << 8);
      code = (code + ((zigzag >>> 1) ^ -(zigzag & 1))) & 0xffff;
      codes[at] = code;
    }
  }
  return codes;
}

/**
 * RGBA_DEFLATE once inflated: planes R, G, B, A of horizontal deltas.
 *
 * @param {Uint8Array} planes
 * @param {number} width
 * @param {number} height
 * @returns {Uint8ClampedArray} RGBA premultiplied by alpha, row by row.
 */
export function undoRgba(planes, width, height) {
  const count = width * height;
  expectBytes(planes, 4 * count);
  const rgba = new Uint8ClampedArray(4 * count);
  for (let channel = 0; channel < 4; channel++) {
    const plane = planes.subarray(channel * count, (channel + 1) * count);
    for (let row = 0, at = 0; row < height; row++) {
      let value = 0;
      for (const end = at + width; at < end; at++) {
        value = (value + plane[at]) & 255;
        rgba[4 * at + channel] = value;
      }
    }
  }
  return rgba;
}

/**
 * RGBA premultiplied by alpha, over black: its colours, opaque. In place.
 *
 * @param {Uint8ClampedArray} rgba
 */
function overBlack(rgba) {
  for (let at = 3; at < rgba.length; at += 4) rgba[at] = 255;
  return rgba;
}

/** @param {Uint8Array} bytes @param {number} wanted */
function expectBytes(bytes, wanted) {
  if (bytes.length !== wanted) throw new Error(`${bytes.length} bytes inflated, ${wanted} expected`);
}

/**
 * @typedef {object} Decoded Exactly one of the three.
 * @property {Uint16Array} [codes] Values.
 * @property {Uint8ClampedArray} [rgba] Opaque colours.
 * @property {ImageBitmap} [bitmap] A picture.
 */

/**
 * Check a payload against its header and decode it.
 *
 * @param {any} header FrameHeader.
 * @param {Uint8Array} payload All chunks together.
 * @returns {Promise<Decoded>}
 * @throws {Error} If the checksum or the size is wrong, or the encoding unknown.
 */
export async function decodeFrame(header, payload) {
  const { width_px: width, height_px: height } = header;
  const crc = crc32(payload);
  if (crc !== header.payload_crc32) throw new Error(`CRC-32 is ${crc}, ${header.payload_crc32} expected`);
  switch (header.encoding) {
    case "FRAME_ENCODING_JPEG":
    case "FRAME_ENCODING_PNG": {
      const type = header.encoding.endsWith("PNG") ? "image/png" : "image/jpeg";
      const blob = new Blob([/** @type {BlobPart} */ (payload)], { type });
      return { bitmap: await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }) };
    }
    case "FRAME_ENCODING_VALUES_DEFLATE":
      return { codes: undoValues(await inflateRaw(payload), width, height) };
    case "FRAME_ENCODING_VALUES_UINT16":
      expectBytes(payload, 2 * width * height);
      return { codes: new Uint16Array(payload.slice().buffer) };
    case "FRAME_ENCODING_RGBA_DEFLATE":
      return { rgba: overBlack(undoRgba(await inflateRaw(payload), width, height)) };
    case "FRAME_ENCODING_RGBA8":
      expectBytes(payload, 4 * width * height);
      return { rgba: overBlack(new Uint8ClampedArray(payload.slice().buffer)) };
    default:
      throw new Error(`unknown encoding ${header.encoding}`);
  }
}
