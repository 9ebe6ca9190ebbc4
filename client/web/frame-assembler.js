/**
 * Binary messages of the stream to whole frames.
 *
 * A message is a 4-byte little-endian header length, the FrameHeader as JSON, and the payload or a chunk of it.
 *
 * @module frame-assembler
 */

/** @typedef {{header: any, payload: Uint8Array}} EncodedFrame */

const text = new TextDecoder("utf-8", { fatal: true });

/**
 * @param {ArrayBuffer} message
 * @returns {EncodedFrame} The payload is a view into the message.
 * @throws {Error} If the lengths contradict each other, or the header is not JSON.
 */
export function parseFrameMessage(message) {
  if (message.byteLength < 4) throw new Error(`a frame message of ${message.byteLength} bytes`);
  const size = new DataView(message).getUint32(0, true);
  if (4 + size > message.byteLength) {
    throw new Error(`frame header of ${size} bytes in a message of ${message.byteLength}`);
  }
  const header = JSON.parse(text.decode(new Uint8Array(message, 4, size)));
  return { header, payload: new Uint8Array(message, 4 + size) };
}

/** Puts chunks together. A newer frame of the same view drops what is there of an older one. */
export class FrameAssembler {
  constructor() {
    /** By view. @type {Map<string, {sequence: number, header: any, bytes: Uint8Array, at: number, next: number}>} */
    this.partial = new Map();
  }

  /** Forgets all beginnings: after a reconnect their ends never come. */
  clear() {
    this.partial.clear();
  }

  /**
   * @param {ArrayBuffer} message
   * @returns {EncodedFrame | null} The frame that this message completes. Its header is that of the first chunk.
   * @throws {Error} If the message is malformed, or a chunk is missing before it.
   */
  push(message) {
    const { header, payload } = parseFrameMessage(message);
    const { view_id: view, sequence, chunk_index: index, chunk_count: count, payload_bytes: total } = header;
    if (index === 0) {
      this.partial.delete(view);
      if (count <= 1) return { header, payload };
      this.partial.set(view, { sequence, header, bytes: new Uint8Array(total), at: 0, next: 0 });
    }
    const begun = this.partial.get(view);
    if (!begun || begun.sequence !== sequence) throw new Error(`chunk ${index} of ${view} #${sequence} has no beginning`);
    if (begun.next !== index || begun.at + payload.length > total) {
      this.partial.delete(view);
      throw new Error(`chunk ${index} of ${view} #${sequence}: chunk ${begun.next} and ${total - begun.at} bytes are due`);
    }
    begun.bytes.set(payload, begun.at);
    begun.at += payload.length;
    begun.next += 1;
    if (begun.next < count) return null;
    this.partial.delete(view);
    if (begun.at !== total) throw new Error(`${view} #${sequence}: ${begun.at} bytes of ${total}`);
    return { header: begun.header, payload: begun.bytes };
  }
}
