/**
 * What is written and drawn over a pane's picture: corners, letters, scale bar, crosshair, badges.
 *
 * @module overlay
 */

import { element, svgElement } from "./elements.js";
import { edgeLetters } from "./letters.js";
import { niceLength, scaleText } from "./lengths.js";
import { pixelSpacing } from "./view-state.js";

/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Viewport} Viewport */

/** The crosshair leaves what it points at free, CSS px. */
const CROSSHAIR_GAP_PX = 14;
/** Lines end this far from the edge, where the letters are, CSS px. */
const EDGE_PX = 26;
/** What the words on a length take, CSS px. */
const WORDS_PX = 100;
/** The badge of a picture that is left over from a lost connection. */
export const NOT_LIVE = "NOT LIVE";
/** The scale bar takes at most this part of the pane. */
const SCALE_BAR_FRACTION = 0.22;

/** The overlay of one pane. Does not take pointer events, but for its crosshair's colour knows nothing of others. */
export class Overlay {
  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.parent = parent;
    this.marks = svgElement("svg", { class: "marks", "aria-hidden": "true" });
    this.lines = [0, 1].map(() => [0, 1].map(() => svgElement("line", { class: "crosshair" })));
    this.center = svgElement("circle", { class: "crosshair-center", r: "3.5" });
    this.bar = svgElement("path", { class: "scale-bar" });
    this.barText = svgElement("text", { class: "scale-text" });
    this.measured = svgElement("g", { class: "measured" });
    this.marks.append(...this.lines.flat(), this.center, this.measured, this.bar, this.barText);
    this.letters = Object.fromEntries(
      ["left", "right", "top", "bottom"].map((side) => [side, element("span", { class: `letter ${side}` })]),
    );
    this.badge = element("span", { class: "badge" });
    this.sourceBadge = element("span", { class: "badge lossy-source", hidden: "" }, ["LOSSY SOURCE"]);
    this.missing = element("span", { class: "badge missing", hidden: "" });
    this.latency = element("span", { class: "latency", title: "From input to paint" });
    this.readout = element("div", { class: "readout" });
    this.windowText = element("div", { class: "window-text" });
    this.slice = element("div", { class: "slice-text" });
    this.position = element("div", { class: "position-text" });
    parent.append(
      this.marks,
      ...Object.values(this.letters),
      element("div", { class: "corner top-right" }, [
        element("div", { class: "badges" }, [this.sourceBadge, this.missing, this.badge]),
        this.latency,
      ]),
      element("div", { class: "corner bottom-left" }, [this.readout, this.windowText]),
      element("div", { class: "corner bottom-right" }, [this.slice, this.position]),
    );
  }

  /**
   * Letters and scale bar.
   *
   * @param {ViewState} state As painted.
   * @param {Viewport} viewport As painted.
   * @param {any} description VolumeDescription. Of an image that lies nowhere in the patient no side is known.
   */
  showGeometry(state, viewport, { unplaced, pixel_scale: scale }) {
    const letters = edgeLetters(state);
    for (const [side, letter] of Object.entries(this.letters)) {
      letter.textContent = unplaced ? "" : letters[/** @type {keyof typeof letters} */ (side)];
    }
    const { clientWidth: width, clientHeight: height } = this.parent;
    // Another one's viewport leaves margins in this pane.
    const spacing = pixelSpacing(state, viewport) / Math.min(width / viewport.width, height / viewport.height);
    const mm = niceLength(width * SCALE_BAR_FRACTION * spacing);
    const length = mm / spacing;
    const [x, y] = [width - 10 - length, height - 48];
    this.bar.setAttribute("d", `M${x} ${y - 4}v8M${x} ${y}h${length}m0 -4v8`);
    // Words that are longer than the bar end where it ends.
    this.barText.setAttribute("x", String(width - 10));
    this.barText.setAttribute("y", String(y - 6));
    this.barText.textContent = state.camera.fov === undefined ? scaleText(mm, scale) : "";
    this.bar.toggleAttribute("hidden", state.camera.fov !== undefined);
  }

  /**
   * The crosshair, where other planes cut this one.
   *
   * @param {{x: number, y: number} | null} at CSS px; null hides it.
   * @param {{direction: {x: number, y: number} | null, color: string}[]} cuts Two at most.
   */
  showCrosshair(at, cuts) {
    this.lines.forEach((pair, index) => {
      const direction = at && cuts[index]?.direction;
      pair.forEach((line, side) => {
        const part = at && direction && this.ray(at, direction, side === 0 ? 1 : -1);
        line.toggleAttribute("hidden", !part);
        if (!part) return;
        for (const [name, value] of Object.entries(part)) line.setAttribute(name, String(value));
        line.setAttribute("stroke", cuts[index].color);
      });
    });
    this.center.toggleAttribute("hidden", !at);
    if (!at) return;
    this.center.setAttribute("cx", String(at.x));
    this.center.setAttribute("cy", String(at.y));
  }

  /**
   * What was measured in the picture's plane.
   *
   * @param {{from: {x: number, y: number}, to: {x: number, y: number}, text: string, selected: boolean}[]} lines CSS px.
   */
  showMeasured(lines) {
    const { clientWidth: width } = this.parent;
    const parts = lines.map(({ from, to, text, selected }) => {
      const group = svgElement("g", selected ? { class: "selected" } : {});
      const d = `M${from.x} ${from.y}L${to.x} ${to.y}`;
      // Beyond the end, not over the line; inwards at the right edge.
      const isInward = to.x < from.x || to.x > width - WORDS_PX;
      const words = svgElement("text", {
        x: String(to.x + (isInward ? -10 : 10)),
        y: String(to.y + (to.y < from.y ? -10 : 20)),
        "text-anchor": isInward ? "end" : "start",
      });
      words.textContent = text;
      group.append(
        svgElement("path", { class: "halo", d }),
        svgElement("path", { d }),
        ...[from, to].map(({ x, y }) => svgElement("circle", { cx: String(x), cy: String(y), r: "4" })),
        words,
      );
      return group;
    });
    this.measured.replaceChildren(...parts);
  }

  /**
   * From the crosshair's gap to where the letters begin; null if nothing of it is inside.
   *
   * @param {{x: number, y: number}} at
   * @param {{x: number, y: number}} direction
   * @param {1 | -1} sign
   */
  ray(at, direction, sign) {
    let from = CROSSHAIR_GAP_PX;
    let to = Infinity;
    for (const [start, step, size] of [
      [at.x, sign * direction.x, this.parent.clientWidth],
      [at.y, sign * direction.y, this.parent.clientHeight],
    ]) {
      const near = (EDGE_PX - start) / step;
      const far = (size - EDGE_PX - start) / step;
      if (Math.abs(step) < 1e-6 && (start < EDGE_PX || start > size - EDGE_PX)) return null;
      if (Math.abs(step) < 1e-6) continue;
      from = Math.max(from, Math.min(near, far));
      to = Math.min(to, Math.max(near, far));
    }
    if (from >= to) return null;
    const [x, y] = [sign * direction.x, sign * direction.y];
    return { x1: at.x + from * x, y1: at.y + from * y, x2: at.x + to * x, y2: at.y + to * y };
  }

  /**
   * What the picture on the screen is.
   *
   * @param {any} header FrameHeader of the painted frame, whose checksum was right.
   * @param {Viewport} viewport
   * @param {boolean} live Whether the server still stands behind it.
   * @param {number} slices That the volume has.
   */
  showQuality(header, viewport, live, slices) {
    const text = live ? qualityText(header, viewport) : NOT_LIVE;
    this.badge.textContent = text;
    this.badge.classList.toggle("lossless", text === "LOSSLESS");
    this.badge.classList.toggle("not-live", !live);
    this.sourceBadge.hidden = !header.lossy_source;
    this.missing.hidden = header.missing_slices === 0;
    this.missing.textContent = loadingText(header.missing_slices, slices);
  }
}

/**
 * @param {number} missing Slices that are not loaded yet.
 * @param {number} slices Of the volume.
 */
function loadingText(missing, slices) {
  return `loading ${(slices - missing).toLocaleString("en")} of ${slices.toLocaleString("en")} slices`;
}

/**
 * LOSSLESS only for the final frame at full size, bit for bit what the renderer gave.
 *
 * @param {any} header FrameHeader.
 * @param {Viewport} viewport
 */
export function qualityText(header, viewport) {
  if (isExact(header, viewport)) return "LOSSLESS";
  const part = Math.min(header.width_px / viewport.width, 1 / Math.max(1, header.ray_stride));
  const scaled = part < 0.995 ? ` · ${Math.round(part * 100)}%` : "";
  return header.jpeg_quality ? `LOSSY q${header.jpeg_quality}${scaled}` : `PREVIEW${scaled}`;
}

/**
 * Whether a frame is as good as it gets.
 *
 * @param {any} header FrameHeader.
 * @param {Viewport} viewport
 */
export function isExact(header, viewport) {
  return (
    header.lossless &&
    header.quality === "FRAME_QUALITY_FINAL" &&
    header.missing_slices === 0 &&
    header.width_px === viewport.width &&
    header.height_px === viewport.height
  );
}
