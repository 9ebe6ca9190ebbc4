/**
 * The canvas that a pane's frames are painted on.
 *
 * @module picture
 */

import { element } from "./elements.js";
import { grayTable, paintCodes } from "./windowing.js";

/** @typedef {import("./view-state.js").Viewport} Viewport */
/** @typedef {import("./view-state.js").Window} Window */

/** Draws codes, colours and bitmaps; smaller ones are stretched. */
export class Picture {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    /** The gray of every code, and what it is the gray for. @type {Uint8Array} */
    this.table = new Uint8Array(0);
    this.tableKey = "";
    /** @type {ImageData | null} */
    this.image = null;
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Take a viewport's size. @param {Viewport} viewport */
  fit({ width, height }) {
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
  }

  /** @param {any} header FrameHeader. @param {Uint16Array} codes @param {Window} window @param {boolean} inverted */
  drawCodes(header, codes, window, inverted) {
    const { width_px: width, height_px: height, value_slope: slope, value_intercept: intercept } = header;
    const key = [window.center, window.width, window.function, window.voi_lut, slope, intercept, inverted].join();
    if (key !== this.tableKey) {
      this.table = grayTable(window, slope, intercept, inverted);
      this.tableKey = key;
    }
    let { image } = this;
    if (!image || image.width !== width || image.height !== height) image = new ImageData(width, height);
    paintCodes(codes, this.table, new Uint32Array(image.data.buffer));
    this.drawImage(image);
    this.image = image;
  }

  /** @param {any} header FrameHeader. @param {Uint8ClampedArray<ArrayBuffer>} rgba Opaque. */
  drawPixels(header, rgba) {
    this.drawImage(new ImageData(new Uint8ClampedArray(rgba), header.width_px, header.height_px));
  }

  /** @param {ImageBitmap} bitmap Is closed. */
  drawBitmap(bitmap) {
    this.context.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    bitmap.close();
  }

  /** @param {ImageData} image */
  drawImage(image) {
    if (image.width === this.canvas.width && image.height === this.canvas.height) {
      this.context.putImageData(image, 0, 0);
      return;
    }
    const small = element("canvas", { width: String(image.width), height: String(image.height) });
    /** @type {CanvasRenderingContext2D} */ (small.getContext("2d")).putImageData(image, 0, 0);
    this.context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
  }
}

/** Run once the browser has painted: a task that is queued in an animation frame comes after it. @param {() => void} task */
export function afterPaint(task) {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    channel.port1.close();
    task();
  };
  channel.port2.postMessage(null);
}
