/**
 * What a hand means: gestures on the panes and keys, as changes of the workspace.
 *
 * @module input
 */

import { fitNative } from "./fitting.js";
import { Gestures } from "./gestures.js";
import { pan, roll, rotate, zoom } from "./moves.js";
import { dragWindow } from "./presets.js";
import { patientFromPixel, pixelFromPatient } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./pane.js").Pane} Pane */
/** @typedef {import("./workspace.js").Workspace} Workspace */

/** Distance from the crosshair's centre at which a drag takes it along, CSS px. */
const HANDLE_PX = 12;
/** A drag over the pane's shorter side turns the volume half around. */
const TURN_PER_SIDE = Math.PI;
/** Magnification for a vertical drag of one CSS px, and for a wheel tick. */
const ZOOM_PER_PX = 1.006;
const ZOOM_PER_TICK = 1.12;
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
        return workspace.crosshairShown && pane.isPlane && this.nearCrosshair(pane, at);
      },
      drag: (kind, dx, dy, at) => {
        if (!pane.state) return;
        workspace.activate(pane);
        const scale = viewport().width / pane.stage.clientWidth;
        if (kind === "pan") workspace.change(pane, pan(pane.state, viewport(), dx * scale, dy * scale));
        else if (kind === "zoom") workspace.change(pane, zoom(pane.state, viewport(), ZOOM_PER_PX ** -dy));
        else if (kind === "grab") workspace.moveCrosshair(pane, this.pointAt(pane, at));
        else if (kind === "primary" && !pane.isPlane) this.turn(pane, dx, dy);
        else if (pane.state.method === "VOLUME_RENDERED") this.shiftTransfer(pane, dy);
        else workspace.setWindow(pane, dragWindow(pane.state.window, dx, dy, workspace.description));
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
        if (pane.isPlane && pane.state && workspace.crosshairShown) workspace.moveCrosshair(pane, this.pointAt(pane, at));
      },
      doubleTap: () => {
        // Its first tap has moved the crosshair.
        if (pane.isPlane && workspace.crosshairShown) workspace.moveCrosshair(pane, this.crosshairBefore);
        workspace.maximise(workspace.maximised === null ? pane.name : null);
      },
      hover: (at) => workspace.annotations.hover(pane, at),
      end: () => workspace.listener.changed(),
    });
    // Also by its menus and sliders: keys and toolbar are for the pane that was touched last. A change comes to the menu
    // itself first: it must be read before the pane's head shows what applies.
    for (const kind of ["pointerdown", "focusin", "change"]) {
      pane.element.addEventListener(kind, () => pane !== workspace.active && workspace.activate(pane), {
        capture: kind !== "change",
      });
    }
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
   * @returns {boolean} Whether it means something here.
   */
  press(key) {
    const { workspace } = this;
    const { active: pane, geometry } = workspace;
    if (!pane.state || !geometry) return false;
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[key];
    if (steps && pane.isPlane) workspace.scroll(pane, steps[0] + steps[1]);
    else if (steps) workspace.change(pane, rotate(pane.state, steps[0] * ARROW_TURN, steps[1] * ARROW_TURN));
    else if (key in SCROLLS && pane.isPlane) workspace.scroll(pane, SCROLLS[key]);
    else if (key === "i") workspace.toggleInvert(pane);
    else if (key === "r" || key === "l") workspace.change(pane, roll(pane.state, key === "r" ? ROLL_TURN : -ROLL_TURN));
    else if (key === "h") workspace.change(pane, { ...pane.state, flipHorizontal: !pane.state.flipHorizontal });
    else if (key === "v") workspace.change(pane, { ...pane.state, flipVertical: !pane.state.flipVertical });
    else if (key === " ") workspace.reset();
    else if (key === "=") workspace.fit(pane);
    else if (key === "n" && pane.viewport) workspace.change(pane, fitNative(pane.state, geometry, pane.viewport));
    else return false;
    return true;
  }
}
