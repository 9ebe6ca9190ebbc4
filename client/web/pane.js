/**
 * One picture on the screen: its state, what is asked for it, and which of the frames that answer is painted.
 *
 * While the canvas shows the exact values of the current camera, a new window or inversion is painted here and
 * nothing is sent. Everything else goes to the server as an absolute view.
 *
 * @module pane
 */

import { element } from "./elements.js";
import { DRAWING } from "./first-picture.js";
import { resize } from "./fitting.js";
import { isExact, NOT_LIVE, Overlay, qualityText } from "./overlay.js";
import { holds } from "./phases.js";
import { afterPaint, Picture } from "./picture.js";
import { pixelText } from "./readout.js";
import { fromWire, sameButWindow, sameViewport, toWire } from "./view-state.js";
import { autoWindow } from "./windowing.js";

/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Viewport} Viewport */
/** @typedef {import("./decode.js").Decoded} Decoded */
/** @typedef {{state: ViewState, viewport: Viewport, time: number | null}} Asked `time`: of the input, ms. */
/** @typedef {{header: any, decoded: Decoded, asked: Asked}} Arrived */

/**
 * @typedef {object} Host What a pane needs of the page.
 * @property {(pane: Pane, view: object) => number} send Returns the view's revision.
 * @property {(pane: Pane, view: object) => void} keep For a reconnect only.
 * @property {(header: any) => void} acknowledge
 * @property {(header: any, payload: Uint8Array) => Promise<Decoded>} decode
 * @property {(pane: Pane) => void} painted
 * @property {(pane: Pane) => void} close Its view is not wanted any more.
 * @property {(pane: Pane, error: Error) => void} failed A frame that is not what its header says.
 * @property {(pane: Pane) => void} resized
 */

/** The longest side of a viewport that is asked for, px. */
const MAX_SIDE_PX = 2048;

/** A pane, and its element to be put into the page. */
export class Pane {
  /**
   * @param {string} name axial, coronal, sagittal, 3d.
   * @param {Host} host
   */
  constructor(name, host) {
    this.name = name;
    this.host = host;
    this.canvas = element("canvas", { class: "picture", width: "1", height: "1" });
    this.stage = element("div", { class: "stage empty", tabindex: "0", role: "img", "aria-label": name }, [this.canvas]);
    this.overlay = new Overlay(this.stage);
    this.element = element("section", { class: "pane", "data-pane": name }, [this.stage]);
    this.picture = new Picture(this.canvas);
    /** @type {ViewState | null} */
    this.state = null;
    /** @type {any} */
    this.description = null;
    /** @type {import("./geometry.js").VolumeGeometry | null} */
    this.geometry = null;
    /** @type {Viewport | null} */
    this.viewport = null;
    this.maxSide = MAX_SIDE_PX;
    this.revision = 0;
    /** What was asked under each revision that may still be answered. @type {Map<number, Asked>} */
    this.asked = new Map();
    /** @type {Arrived | null} */
    this.painted = null;
    /** @type {Arrived | null} */
    this.arrived = null;
    this.epoch = 0;
    this.sequence = 0;
    /** @type {number | null} */
    this.latency = null;
    this.title = name;
    /** Whether the server stands behind what is painted: false from a lost connection to the next frame. */
    this.live = true;
    /** Its state is to be fitted once the size is known. */
    this.unfitted = false;
    /** A change waits for the pane to be shown. */
    this.stale = false;
    /** Another client sets the view: the viewport is that one's. @type {Viewport | null} */
    this.mirrored = null;
    /** @type {number | null} */
    this.frameRequest = null;
    const observer = new ResizeObserver((entries) => this.measure(entries[0]));
    try {
      observer.observe(this.stage, { box: "device-pixel-content-box" });
    } catch {
      observer.observe(this.stage);
    }
  }

  /** The viewport that a picture should have. */
  get wantedViewport() {
    return this.mirrored ?? this.viewport;
  }

  get isPlane() {
    return this.name !== "3d";
  }

  /** Whether the canvas shows the final, exact frame of the latest view. */
  get settled() {
    return this.showsExact && this.painted?.header.view_revision === this.revision;
  }

  /** Whether the canvas shows exactly what is asked for, be it under an older revision or another window. */
  get showsExact() {
    const viewport = this.wantedViewport;
    if (!this.painted || !this.state || !viewport || this.stale) return false;
    const { header, asked } = this.painted;
    return isExact(header, asked.viewport) && sameViewport(asked.viewport, viewport) && sameButWindow(asked.state, this.state);
  }

  /** Whether gray is shown inverted: the reader's wish and MONOCHROME1 together. */
  get inverted() {
    return Boolean(this.state?.invert) !== Boolean(this.description?.inverted);
  }

  /**
   * Show another volume; the first view comes with `set`.
   *
   * @param {any} description VolumeDescription.
   * @param {import("./geometry.js").VolumeGeometry} geometry
   */
  open(description, geometry) {
    this.description = description;
    this.geometry = geometry;
    this.state = null;
    this.painted = null;
    this.arrived?.decoded.bitmap?.close();
    this.arrived = null;
    this.latency = null;
    this.live = true;
    this.overlay.latency.textContent = "";
    this.stage.classList.add("empty", "awaited");
    this.stage.dataset.wait = DRAWING;
    this.picture.clear();
  }

  /** Whether it shows a colour image, which has neither values nor a window. */
  get isColorImage() {
    return this.description?.voxel_type === "VOXEL_TYPE_RGB8";
  }

  /** Whether it shows colours, of which there is no window or inversion. */
  get isColor() {
    return this.isColorImage || this.state?.method === "VOLUME_RENDERED";
  }

  /** Whether it waits for the first picture of a volume. */
  get isAwaited() {
    return this.stage.classList.contains("awaited");
  }

  /** Whether it has a place on the screen. */
  get isShown() {
    return this.stage.clientWidth > 0;
  }

  /** Show nothing, and ask for nothing. */
  close() {
    this.state = null;
    this.stale = false;
    this.host.close(this);
  }

  /** @param {any} header FrameHeader. @param {{width: number, height: number}} viewport */
  showQuality(header, viewport) {
    this.overlay.showQuality(header, viewport, this.live, this.geometry?.size[2] ?? 0);
  }

  /** Say whether what is painted is still the server's word. @param {boolean} live */
  setLive(live) {
    if (live === this.live) return;
    this.live = live;
    this.stage.classList.toggle("awaited", live && !this.painted);
    if (this.painted) this.showQuality(this.painted.header, this.painted.asked.viewport);
    this.host.painted(this);
  }

  /** @param {ViewState} next */
  set(next) {
    if (this.mirrored) return;
    const before = this.state;
    this.state = next;
    if (!this.viewport) {
      this.stale = true;
      return;
    }
    if (before && sameButWindow(before, next) && this.painted?.decoded.codes && this.showsExact) {
      this.host.keep(this, toWire(next, this.viewport));
      this.requestPaint();
      return;
    }
    // The first picture of a volume waits for more than a picture.
    this.send(before ? performance.now() : null);
  }

  /**
   * Show what another client has set.
   *
   * @param {number} revision
   * @param {any} view View of the wire.
   */
  mirror(revision, view) {
    const viewport = { width: view.viewport.width_px, height: view.viewport.height_px };
    this.mirrored = viewport;
    this.stale = false;
    this.state = fromWire(view, this.description.default_window);
    this.revision = revision;
    this.asked.set(revision, { state: this.state, viewport, time: null });
  }

  /** Ask by oneself again, for as much as the other one's pane showed. */
  takeOver() {
    const { mirrored, state, geometry, viewport } = this;
    if (!mirrored) return;
    this.mirrored = null;
    if (state && geometry && viewport) this.state = resize(state, geometry, mirrored, viewport);
    this.send(null);
  }

  /** @param {number | null} time Of the input that led to it. */
  send(time) {
    if (!this.state || !this.viewport || this.mirrored) return;
    this.stale = false;
    const asked = { state: this.state, viewport: this.viewport, time };
    this.revision = this.host.send(this, toWire(this.state, this.viewport));
    this.asked.set(this.revision, asked);
  }

  /** Frames are counted anew after each connect. @param {number} epoch */
  begin(epoch) {
    this.epoch = epoch;
    this.sequence = 0;
  }

  /** @param {ResizeObserverEntry} entry */
  measure(entry) {
    const { devicePixelRatio: ratio } = window;
    const exact = entry.devicePixelContentBoxSize?.[0];
    /** @param {number} css @param {number | undefined} device */
    const pixels = (css, device) =>
      // An emulated screen reports device pixels of the real one.
      device !== undefined && Math.abs(device - css * ratio) < 2 ? device : Math.round(css * ratio);
    const width = pixels(entry.contentRect.width, exact?.inlineSize);
    const height = pixels(entry.contentRect.height, exact?.blockSize);
    // Hidden: the last viewport stays.
    if (width === 0 || height === 0) return;
    const shrink = Math.min(1, this.maxSide / Math.max(width, height));
    const viewport = {
      width: Math.max(1, Math.round(width * shrink)),
      height: Math.max(1, Math.round(height * shrink)),
    };
    if (this.viewport && sameViewport(this.viewport, viewport)) {
      if (this.stale) this.send(null);
      this.requestPaint();
      return;
    }
    const before = this.viewport;
    this.viewport = viewport;
    if (before && this.state && this.geometry) this.state = resize(this.state, this.geometry, before, viewport);
    this.host.resized(this);
  }

  /**
   * @param {any} header FrameHeader.
   * @param {Uint8Array} payload
   */
  async receive(header, payload) {
    let decoded;
    try {
      decoded = await this.host.decode(header, payload);
    } catch (error) {
      this.host.acknowledge(header);
      this.host.failed(this, /** @type {Error} */ (error));
      return;
    }
    if (header.epoch === this.epoch) this.setLive(true);
    // Of what another one sets only the latest is told: a picture of what came before is shown all the same.
    const latest = this.mirrored ? this.asked.get(this.revision) : undefined;
    const asked = this.asked.get(header.view_revision) ?? latest;
    // Decoding may end in another order than it began.
    const older = header.epoch !== this.epoch || header.sequence < this.sequence;
    // A lossy frame of what is already exact on the screen comes after a reconnect.
    const { state } = this;
    const worse =
      asked && state && this.showsExact && !isExact(header, asked.viewport) && sameButWindow(asked.state, state);
    // Another phase of the same volume is on its way to what is asked: a cine would else show nothing while it plays.
    const other = asked && (!state || !holds(this.description.summary, asked.state.volumeId));
    if (!asked || older || worse || other) {
      decoded.bitmap?.close();
      this.host.acknowledge(header);
      return;
    }
    this.sequence = header.sequence;
    if (this.arrived) {
      this.arrived.decoded.bitmap?.close();
      this.host.acknowledge(this.arrived.header);
    }
    this.arrived = { header, decoded, asked };
    this.requestPaint();
  }

  requestPaint() {
    this.frameRequest ??= requestAnimationFrame(() => {
      this.frameRequest = null;
      this.paint();
    });
  }

  paint() {
    const { arrived } = this;
    if (arrived) {
      this.painted = arrived;
      this.arrived = null;
      for (const revision of this.asked.keys()) if (revision < arrived.header.view_revision) this.asked.delete(revision);
    }
    if (!this.painted || !this.state) return;
    const { header, decoded, asked } = this.painted;
    this.picture.fit(asked.viewport);
    if (decoded.codes) this.picture.drawCodes(header, decoded.codes, this.state.window, this.inverted);
    else if (arrived && decoded.rgba) this.picture.drawPixels(header, decoded.rgba);
    else if (arrived && decoded.bitmap) this.picture.drawBitmap(decoded.bitmap);
    this.stage.classList.remove("empty", "awaited");
    // Dark on light: outside the volume an inverted picture is white.
    const gray = asked.state.method !== "VOLUME_RENDERED";
    this.element.classList.toggle("light", gray && (decoded.codes ? this.inverted : header.inverted));
    this.showQuality(header, asked.viewport);
    this.host.painted(this);
    if (arrived) afterPaint(() => this.afterPaint(arrived));
  }

  /** The frame is on the screen: give its credit back, and see how long it took. @param {Arrived} shown */
  afterPaint(shown) {
    this.host.acknowledge(shown.header);
    if (shown.asked.time === null) return;
    this.latency = performance.now() - shown.asked.time;
    shown.asked.time = null;
    this.overlay.latency.textContent = `${Math.round(this.latency)} ms`;
  }

  /** @param {{x: number, y: number}} at CSS px of the stage. @returns {{x: number, y: number}} Viewport px. */
  toPixel(at) {
    const { width, height } = /** @type {Viewport} */ (this.viewport);
    return { x: (at.x * width) / this.stage.clientWidth, y: (at.y * height) / this.stage.clientHeight };
  }

  /** @param {{x: number, y: number}} pixel Viewport px as painted. @returns {{x: number, y: number}} CSS px. */
  toCss(pixel) {
    const { clientWidth, clientHeight } = this.stage;
    const { width, height } = /** @type {Arrived} */ (this.painted).asked.viewport;
    // Another one's viewport leaves margins in this pane.
    const scale = Math.min(clientWidth / width, clientHeight / height);
    return {
      x: clientWidth / 2 + (pixel.x - width / 2) * scale,
      y: clientHeight / 2 + (pixel.y - height / 2) * scale,
    };
  }

  /**
   * The value under a point, as text with its unit; empty where none is known exactly.
   *
   * @param {{x: number, y: number} | null} at CSS px.
   */
  valueText(at) {
    if (!at || !this.painted || !this.showsExact) return "";
    const { decoded } = this.painted;
    if (!decoded.codes && !this.isColorImage) return "";
    return pixelText(this.painted, this.toPixel(at), this.geometry);
  }

  /** A window over what is seen; null unless exact values are. */
  autoWindow() {
    const { header, decoded } = this.painted ?? {};
    return decoded?.codes ? autoWindow(decoded.codes, header.value_slope, header.value_intercept) : null;
  }

  /** For tests and the curious: what is on the screen. */
  inspect() {
    const { header, asked } = this.painted ?? {};
    return {
      view: this.state && this.wantedViewport ? toWire(this.state, this.wantedViewport) : null,
      revision: this.revision,
      lastHeader: header ?? null,
      settled: this.settled,
      badge: header && asked ? (this.live ? qualityText(header, asked.viewport) : NOT_LIVE) : "",
      live: this.live,
      latencyMs: this.latency,
    };
  }
}
