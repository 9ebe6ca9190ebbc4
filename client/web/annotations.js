/**
 * What is written and drawn over each pane's picture, from the states of all of them.
 *
 * @module annotations
 */

import { lengthText } from "./lengths.js";
import { liesIn, lineLength } from "./measurements.js";
import { windowText } from "./presets.js";
import { planePosition, slicePosition } from "./slices.js";
import { cutDirection, pixelFromPatient } from "./view-state.js";

/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./pane.js").Pane} Pane */
/** @typedef {import("./workspace.js").Workspace} Workspace */

/** Fingers. */
const CANNOT_HOVER = matchMedia("(hover: none)");

/** Fills the panes' overlays. */
export class Annotations {
  /** @param {Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    /** The pointer, over at most one pane. @type {{pane: Pane, at: {x: number, y: number}} | null} */
    this.hovered = null;
  }

  /** The pointer is over a pane, or has left it. @param {Pane} pane @param {{x: number, y: number} | null} at CSS px. */
  hover(pane, at) {
    this.hovered = at && { pane, at };
    this.showReadout(pane);
  }

  showAll() {
    for (const pane of this.workspace.panes) this.show(pane);
  }

  /** Write and draw what belongs to the painted picture, which may lag behind the state. @param {Pane} pane */
  show(pane) {
    const { geometry, crosshair, crosshairShown, description, only, planes } = this.workspace;
    // A hidden pane has no size; it is painted again when it is shown.
    if (!pane.painted || !pane.state || !geometry || pane.stage.clientWidth === 0) return;
    const { state, viewport } = pane.painted.asked;
    const { overlay } = pane;
    overlay.showGeometry(state, viewport, description);
    const others = planes.filter((other) => other !== pane && other.state);
    const at = crosshairShown && pane.isPlane && !only ? pixelFromPatient(state, viewport, crosshair) : null;
    overlay.showCrosshair(
      at && pane.toCss(at),
      others.map((other) => ({
        direction: cutDirection(state, /** @type {ViewState} */ (other.state)),
        color: `var(--${other.name})`,
      })),
    );
    this.showMeasured(pane);
    const { window } = pane.painted.decoded.codes ? pane.state : state;
    const color = state.method === "VOLUME_RENDERED";
    overlay.windowText.textContent = color || pane.isColorImage
      ? shiftText(state.transfer)
      : `${windowText(window)}${unitText(description.units)}${pane.inverted ? "  INV" : ""}`;
    if (pane.isPlane) {
      const { index, count } = slicePosition(state, geometry);
      overlay.slice.textContent = `${Math.min(count, Math.max(1, Math.round(index) + 1))} / ${count}`;
      overlay.position.textContent = description.unplaced ? "" : planePosition(state);
    }
    this.showReadout(pane);
  }

  /** The lines in the painted plane. @param {Pane} pane */
  showMeasured(pane) {
    const { geometry, measurements, description } = this.workspace;
    if (!pane.painted || !geometry) return;
    const { state, viewport } = pane.painted.asked;
    const lines = pane.isPlane ? measurements.lines.filter((line) => liesIn(line, state, geometry)) : [];
    pane.overlay.showMeasured(
      lines.map((line) => ({
        from: pane.toCss(pixelFromPatient(state, viewport, line.from)),
        to: pane.toCss(pixelFromPatient(state, viewport, line.to)),
        text: lengthText(lineLength(line), description.pixel_scale),
        selected: line === measurements.selected,
      })),
    );
  }

  /** The value under the pointer; in the active pane under the crosshair, where nothing can point. @param {Pane} pane */
  showReadout(pane) {
    let at = this.hovered?.pane === pane ? this.hovered.at : null;
    const { active, crosshair, crosshairShown, only } = this.workspace;
    if (CANNOT_HOVER.matches && pane === active && pane.painted && pane.isPlane && crosshairShown && !only) {
      const { state, viewport } = pane.painted.asked;
      at = pane.toCss(pixelFromPatient(state, viewport, crosshair));
    }
    pane.overlay.readout.textContent = pane.valueText(at);
  }
}

/** A unit behind the figures of a window; HU goes without saying. @param {string} units */
const unitText = (units) => (units && units !== "HU" ? ` ${units}` : "");

/** How far a preset has been moved along the values. @param {any} transfer TransferFunction of the wire, or null. */
function shiftText(transfer) {
  const shift = Math.round(transfer?.shift ?? 0);
  return shift === 0 ? "" : `Shift ${shift > 0 ? "+" : "-"}${Math.abs(shift)}`;
}
