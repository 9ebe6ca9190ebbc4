/**
 * What a hand means: gestures on the panes and keys, as changes of the workspace.
 *
 * @module input
 */

import { fitNative } from "./fitting.js";
import { Gestures } from "./gestures.js";
import { liesIn } from "./measurements.js";
import { pan, roll, rotate, zoom } from "./moves.js";
import { dragWindow } from "./presets.js";
import { slicePosition } from "./slices.js";
import { patientFromPixel, pixelFromPatient } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./pane.js").Pane} Pane */
/** @typedef {import("./workspace.js").Workspace} Workspace */
/** @typedef {import("./gestures.js").Point} Point */
/** @typedef {import("./measurements.js").End} End */

/** Distance from the crosshair's centre at which a drag takes it along, CSS px. */
const HANDLE_PX = 12;
/** A tap so near to a line means it, CSS px. */
const LINE_PX = 10;
/** A drag over this part of the pane's height goes through all slices; of few slices each takes no more than so much. */
const SCROLL_PART = 0.8;
const MOST_PX_A_SLICE = 16;
/** A drag over the pane's shorter side turns the volume half around. */
const TURN_PER_SIDE = Math.PI;
/** Magnification for a vertical drag of one CSS px, and for a wheel tick. */
const ZOOM_PER_PX = 1.006;
const ZOOM_PER_TICK = 1.12;
const ZOOM_PER_KEY = 1.25;
const PAN_PER_KEY_PX = 40;
const ARROW_TURN = Math.PI / 36;
const ROLL_TURN = Math.PI / 2;
/** Slices that a key goes on; past either end it stops there. @type {Record<string, number>} */
const SCROLLS = { PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };

/** Listens on all panes; is told of keys. */
export class Input {
  /** @param {Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    /** Where the crosshair was before the tap that may become a double tap. @type {Vec} */
    this.crosshairBefore = workspace.crosshair;
    /** Follows the pointer. @type {((at: Point) => void) | null} */
    this.held = null;
    this.scrollRest = 0;
    for (const pane of workspace.panes) this.listen(pane);
  }

  /** @param {Pane} pane */
  listen(pane) {
    const { workspace } = this;
    const viewport = () => /** @type {import("./view-state.js").Viewport} */ (pane.viewport);
    new Gestures(pane.stage, {
      grab: (at) => {
        workspace.activate(pane);
        // Keys are for the pane now, not for the menu that was used last.
        pane.stage.focus({ preventScroll: true });
        this.scrollRest = 0;
        this.held = pane.isPlane && pane.state && pane.painted ? this.holdAt(pane, at) : null;
        return this.held !== null;
      },
      drag: (kind, dx, dy, at) => {
        if (!pane.state) return;
        workspace.activate(pane);
        const scale = viewport().width / pane.stage.clientWidth;
        if (kind === "pan") workspace.change(pane, pan(pane.state, viewport(), dx * scale, dy * scale));
        else if (kind === "zoom") workspace.change(pane, zoom(pane.state, viewport(), ZOOM_PER_PX ** -dy));
        else if (kind === "grab") this.held?.(at);
        else if (kind === "primary") this.dragTool(pane, dx, dy);
        else this.dragWindow(pane, dx, dy);
      },
      pinch: (factor, at) => {
        if (pane.state) workspace.change(pane, zoom(pane.state, viewport(), factor, pane.toPixel(at)));
      },
      wheel: (ticks, at) => {
        if (pane.isPlane) workspace.scroll(pane, ticks);
        else if (pane.state) {
          workspace.change(pane, zoom(pane.state, viewport(), ZOOM_PER_TICK ** -ticks, pane.toPixel(at)));
        }
      },
      tap: (at) => {
        this.crosshairBefore = workspace.crosshair;
        if (workspace.tool === "measure" && pane.isPlane) this.select(pane, at);
        else if (pane.isPlane && pane.state && workspace.crosshairShown) workspace.moveCrosshair(pane, this.pointAt(pane, at));
      },
      doubleTap: () => {
        // Its first tap has moved the crosshair.
        if (pane.isPlane && workspace.crosshairShown) workspace.moveCrosshair(pane, this.crosshairBefore);
        workspace.maximise(workspace.maximised === null ? pane.name : null);
      },
      hover: (at) => workspace.annotations.hover(pane, at),
      end: () => {
        if (this.held) workspace.measurements.settle();
        this.held = null;
        workspace.showMeasured();
      },
    });
    // Also by its menus and sliders: keys and toolbar are for the pane that was touched last. A change comes to the menu
    // itself first: it must be read before the pane's head shows what applies.
    for (const kind of ["pointerdown", "focusin", "change"]) {
      pane.element.addEventListener(kind, () => pane !== workspace.active && workspace.activate(pane), {
        capture: kind !== "change",
      });
    }
  }

  /**
   * What the tool does. A volume has no planes to scroll through or to measure in.
   *
   * @param {Pane} pane
   * @param {number} dx CSS px.
   * @param {number} dy
   */
  dragTool(pane, dx, dy) {
    const { workspace } = this;
    const { tool } = workspace;
    const { state, viewport } = pane;
    if (!state || !viewport) return;
    const scale = viewport.width / pane.stage.clientWidth;
    if (tool === "pan") workspace.change(pane, pan(state, viewport, dx * scale, dy * scale));
    else if (tool === "zoom") workspace.change(pane, zoom(state, viewport, ZOOM_PER_PX ** -dy));
    else if (!pane.isPlane) this.turn(pane, dx, dy);
    else if (tool === "slices" && !workspace.only) this.dragSlices(pane, dy);
    else this.dragWindow(pane, dx, dy);
  }

  /** @param {Pane} pane @param {number} dx CSS px. @param {number} dy */
  dragWindow(pane, dx, dy) {
    if (!pane.state) return;
    if (pane.state.method === "VOLUME_RENDERED") this.shiftTransfer(pane, dy);
    else this.workspace.setWindow(pane, dragWindow(pane.state.window, dx, dy, this.workspace.description));
  }

  /** Through the slices; a stack of many goes by faster. @param {Pane} pane @param {number} dy CSS px. */
  dragSlices(pane, dy) {
    const { geometry } = this.workspace;
    if (!pane.state || !geometry) return;
    const { count } = slicePosition(pane.state, geometry);
    this.scrollRest += dy / Math.min(MOST_PX_A_SLICE, (SCROLL_PART * pane.stage.clientHeight) / count);
    const ticks = Math.trunc(this.scrollRest);
    this.scrollRest -= ticks;
    if (ticks) this.workspace.scroll(pane, ticks);
  }

  /**
   * What a drag takes along from a point: an end of a line, another line, the crosshair; null if nothing.
   *
   * @param {Pane} pane
   * @param {Point} at CSS px.
   * @returns {((at: Point) => void) | null}
   */
  holdAt(pane, at) {
    const { workspace } = this;
    if (workspace.tool !== "measure") {
      const isNear = workspace.crosshairShown && this.nearCrosshair(pane, at);
      return isNear ? (to) => workspace.moveCrosshair(pane, this.pointAt(pane, to)) : null;
    }
    const { measurements } = workspace;
    const found = this.endAt(pane, at);
    // The end stays where it is under the finger, which hides it.
    const [dx, dy] = found ? [found.at.x - at.x, found.at.y - at.y] : [0, 0];
    let [line, end] = found ? [found.line, found.end] : [null, /** @type {End} */ ("to")];
    return (to) => {
      line ??= measurements.begin(this.pointAt(pane, at));
      measurements.selected = line;
      line[end] = this.pointAt(pane, { x: to.x + dx, y: to.y + dy });
      workspace.showMeasured();
    };
  }

  /** The lines of a pane's picture, on the screen. @param {Pane} pane */
  linesOf(pane) {
    const { measurements, geometry } = this.workspace;
    const { state, viewport } = /** @type {import("./pane.js").Arrived} */ (pane.painted).asked;
    /** @param {Vec} point */
    const place = (point) => pane.toCss(pixelFromPatient(state, viewport, point));
    return measurements.lines
      .filter((line) => geometry && liesIn(line, state, geometry))
      .map((line) => ({ line, from: place(line.from), to: place(line.to) }));
  }

  /** The end of a line near a point; of two at one place the one drawn last. @param {Pane} pane @param {Point} point CSS px. */
  endAt(pane, point) {
    const reach = matchMedia("(pointer: coarse)").matches ? 2 * HANDLE_PX : HANDLE_PX;
    const ends = this.linesOf(pane).flatMap(({ line, from, to }) => [
      { line, end: /** @type {End} */ ("from"), at: from },
      { line, end: /** @type {End} */ ("to"), at: to },
    ]);
    return ends.findLast(({ at }) => Math.hypot(at.x - point.x, at.y - point.y) < reach);
  }

  /** Select the line near a point, or none. @param {Pane} pane @param {Point} point CSS px. */
  select(pane, point) {
    if (!pane.painted) return;
    const near = this.linesOf(pane).findLast(({ from, to }) => distanceTo(point, from, to) < LINE_PX);
    this.workspace.measurements.selected = near?.line ?? null;
    this.workspace.showMeasured();
  }

  /** @param {Pane} pane @param {number} dx CSS px. @param {number} dy */
  turn(pane, dx, dy) {
    const perPixel = TURN_PER_SIDE / Math.min(pane.stage.clientWidth, pane.stage.clientHeight);
    if (pane.state) this.workspace.change(pane, rotate(pane.state, dx * perPixel, dy * perPixel));
  }

  /** Move the transfer function along the values, if it has a name. @param {Pane} pane @param {number} dy CSS px. */
  shiftTransfer(pane, dy) {
    const { workspace } = this;
    const transfer = workspace.transferOf(pane);
    if (!transfer) return;
    const span = workspace.description.maximum_value - workspace.description.minimum_value;
    workspace.setTransfer(pane, { ...transfer, shift: transfer.shift + (dy * span) / 2000 });
  }

  /** @param {Pane} pane @param {{x: number, y: number}} at CSS px. @returns {Vec} */
  pointAt(pane, at) {
    const pixel = pane.toPixel(at);
    const { state, viewport } = pane;
    return patientFromPixel(/** @type {any} */ (state), /** @type {any} */ (viewport), pixel.x, pixel.y);
  }

  /** @param {Pane} pane @param {{x: number, y: number}} at */
  nearCrosshair(pane, at) {
    if (!pane.painted) return false;
    const { state, viewport } = pane.painted.asked;
    const center = pane.toCss(pixelFromPatient(state, viewport, this.workspace.crosshair));
    return Math.hypot(center.x - at.x, center.y - at.y) < HANDLE_PX;
  }

  /**
   * A key for the active pane.
   *
   * @param {string} key
   * @param {boolean} shift
   * @returns {boolean} Whether it means something here.
   */
  press(key, shift) {
    const { workspace } = this;
    const { active: pane, geometry } = workspace;
    if (!pane.state || !geometry) return false;
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[key];
    if (steps && shift && pane.viewport) {
      const [dx, dy] = steps.map((step) => step * PAN_PER_KEY_PX * devicePixelRatio);
      workspace.change(pane, pan(pane.state, pane.viewport, dx, dy));
    } else if (steps && pane.isPlane) workspace.scroll(pane, steps[0] + steps[1]);
    else if (steps) workspace.change(pane, rotate(pane.state, steps[0] * ARROW_TURN, steps[1] * ARROW_TURN));
    else if (key in SCROLLS && pane.isPlane) workspace.scroll(pane, SCROLLS[key]);
    else if (key === "i") workspace.toggleInvert(pane);
    else if (key === "r" || key === "l") workspace.change(pane, roll(pane.state, key === "r" ? ROLL_TURN : -ROLL_TURN));
    else if (key === "h") workspace.change(pane, { ...pane.state, flipHorizontal: !pane.state.flipHorizontal });
    else if (key === "v") workspace.change(pane, { ...pane.state, flipVertical: !pane.state.flipVertical });
    else if (key === " ") workspace.reset();
    else if (key === "c" && !workspace.only) workspace.showCrosshair(!workspace.crosshairShown);
    else if (key === "Enter") workspace.maximise(workspace.maximised === null ? pane.name : null);
    else if ((key === "+" || key === "-") && pane.viewport) {
      workspace.change(pane, zoom(pane.state, pane.viewport, key === "+" ? ZOOM_PER_KEY : 1 / ZOOM_PER_KEY));
    }
    else if (key === "=") workspace.fit(pane);
    else if (key === "n" && pane.viewport) workspace.change(pane, fitNative(pane.state, geometry, pane.viewport));
    else return false;
    return true;
  }
}

/**
 * How far a point is from a line between two others.
 *
 * @param {Point} point
 * @param {Point} from
 * @param {Point} to
 */
function distanceTo(point, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const along = ((point.x - from.x) * dx + (point.y - from.y) * dy) / (dx * dx + dy * dy || 1);
  const part = Math.min(1, Math.max(0, along));
  return Math.hypot(point.x - from.x - part * dx, point.y - from.y - part * dy);
}
