/**
 * The four panes and what links them: the crosshair, the planes' common window, the layout.
 *
 * @module workspace
 */

import { Annotations } from "./annotations.js";
import { fit, fitNative } from "./fitting.js";
import { Measurements } from "./measurements.js";
import { Pane } from "./pane.js";
import { projectionWindow } from "./presets.js";
import { moveThrough, scrollBy } from "./slices.js";
import { firstTool } from "./tools.js";
import { along, cross, dot, length, normalize, subtract } from "./vector.js";
import { basis, fromWire } from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Window} Window */
/** @typedef {import("./pane.js").Host} Host */

/** In reading order. */
const PANE_NAMES = ["axial", "sagittal", "coronal", "3d"];

/**
 * @typedef {object} Listener
 * @property {() => void} painted A picture is another, or live again.
 * @property {() => void} changed A state, the layout or the active pane is another.
 */

/** Holds the panes; knows of no socket but through `host`. */
export class Workspace {
  /**
   * @param {HTMLElement} grid
   * @param {Omit<Host, "painted" | "resized">} host
   * @param {Listener} listener
   */
  constructor(grid, host, listener) {
    this.grid = grid;
    this.listener = listener;
    /** @type {any} */
    this.description = null;
    /** @type {import("./geometry.js").VolumeGeometry | null} */
    this.geometry = null;
    /** @type {Vec} */
    this.crosshair = [0, 0, 0];
    this.crosshairShown = true;
    /** @type {string | null} */
    this.maximised = null;
    /** The one pane of a volume of one slice: the other planes would show it edge-on. @type {Pane | null} */
    this.only = null;
    /** What was maximised before it. @type {string | null} */
    this.maximisedBefore = null;
    /** @type {Map<string, ViewState>} */
    this.initial = new Map();
    this.panes = PANE_NAMES.map(
      (name) => new Pane(name, { ...host, painted: (pane) => this.repainted(pane), resized: (pane) => this.resized(pane) }),
    );
    this.active = this.panes[0];
    this.measurements = new Measurements();
    this.tool = firstTool();
    this.annotations = new Annotations(this);
    grid.append(...this.panes.map((pane) => pane.element));
    this.activate(this.active);
  }

  /** @param {string} name */
  pane(name) {
    return this.panes.find((pane) => pane.name === name);
  }

  get planes() {
    return this.panes.filter((pane) => pane.isPlane);
  }

  /**
   * Take the words on the volume that is shown, now that it is whole. The views stay.
   *
   * @param {any} description VolumeDescription.
   */
  describe(description) {
    this.description = description;
    for (const pane of this.panes) pane.description = description;
  }

  /**
   * Show a volume in its initial views. Its own oblique plane takes the place of the nearest one.
   *
   * @param {any} description VolumeDescription.
   * @param {import("./geometry.js").VolumeGeometry} geometry
   */
  open(description, geometry) {
    this.description = description;
    this.geometry = geometry;
    this.crosshair = geometry.center;
    this.initial.clear();
    this.measurements.open(description.summary.volume_id);
    const named = new Map(description.initial_views.map((/** @type {any} */ item) => [item.name, item.view]));
    for (const pane of this.panes) {
      pane.open(description, geometry);
      pane.title = pane.name;
      this.initial.set(pane.name, fromWire(named.get(pane.name), description.default_window));
    }
    const whole = /** @type {ViewState} */ (this.initial.get("3d"));
    this.initial.set("3d", { ...whole, window: projectionWindow(description, whole.method, whole.window) });
    if (named.has("acquisition")) {
      this.takeAcquisition(fromWire(named.get("acquisition"), description.default_window));
    }
    this.takeOnly();
    this.reset();
  }

  /** Lay out one pane for one slice, and what there was for more. */
  takeOnly() {
    const { geometry, only } = this;
    if (!only) this.maximisedBefore = this.maximised;
    this.only = geometry?.size[2] === 1 ? this.nearest(normalize(cross(geometry.steps[0], geometry.steps[1]))) : null;
    this.grid.classList.toggle("only", this.only !== null);
    if (this.only) {
      for (const pane of this.panes) {
        if (pane === this.only) continue;
        this.initial.delete(pane.name);
        pane.close();
      }
    }
    if (this.only || only) this.maximise(this.maximisedBefore);
  }

  /** The plane that looks most along a direction. @param {Vec} direction Unit vector. */
  nearest(direction) {
    /** @param {Pane} pane */
    const nearness = (pane) =>
      Math.abs(dot(direction, basis(/** @type {ViewState} */ (this.initial.get(pane.name)).camera).forward));
    return this.planes.reduce((best, pane) => (nearness(pane) > nearness(best) ? pane : best));
  }

  /** @param {ViewState} state Of the plane of an oblique acquisition. */
  takeAcquisition(state) {
    const nearest = this.nearest(basis(state.camera).forward);
    nearest.title = "acquisition";
    this.initial.set(nearest.name, state);
    // It is the first thing to see where only one is seen.
    if (this.maximised !== null) this.maximise(nearest.name);
    else this.activate(nearest);
  }

  /** Everything as it was when the volume was opened. */
  reset() {
    const { geometry } = this;
    if (!geometry) return;
    const states = new Map(this.initial);
    this.crosshair = geometry.center;
    // A plane between two slices is a mean of both: begin on one. An oblique one has the last word.
    const shown = this.planes.filter(({ name }) => states.has(name));
    for (const { name } of shown.sort((a) => (a.title === "acquisition" ? 1 : -1))) {
      const onSlice = scrollBy(/** @type {ViewState} */ (states.get(name)), geometry, 0);
      states.set(name, onSlice);
      this.crosshair = this.crosshairOn(onSlice);
    }
    for (const pane of this.panes) {
      const state = states.get(pane.name);
      if (!state) continue;
      const through = pane.isPlane ? moveThrough(state, this.crosshair) : state;
      pane.unfitted = !pane.viewport;
      if (pane.viewport) pane.set(this.fitted(pane, through));
      else pane.state = through;
    }
    this.annotations.showAll();
    this.listener.changed();
  }

  /** @param {Pane} pane @param {ViewState} state */
  fitted(pane, state) {
    const how = pane.title === "acquisition" ? fitNative : fit;
    return how(state, /** @type {any} */ (this.geometry), /** @type {any} */ (pane.viewport));
  }

  /** @param {Pane} pane */
  resized(pane) {
    if (!pane.state || !pane.viewport) return;
    if (pane.unfitted) pane.state = this.fitted(pane, pane.state);
    pane.unfitted = false;
    pane.send(null);
    this.annotations.show(pane);
  }

  /** @param {Pane} pane */
  activate(pane) {
    this.active = pane;
    for (const each of this.panes) {
      each.element.classList.toggle("active", each === pane);
      this.annotations?.showReadout(each);
    }
    this.listener.changed();
  }

  /** Show one pane alone, or all of them. @param {string | null} wanted */
  maximise(wanted) {
    const name = this.only ? this.only.name : wanted;
    this.maximised = name;
    this.grid.classList.toggle("single", name !== null);
    for (const pane of this.panes) pane.element.classList.toggle("shown", pane.name === name);
    const shown = name === null ? null : this.pane(name);
    if (shown) this.activate(shown);
    else this.listener.changed();
  }

  /** The crosshair, moved along a plane's normal onto it. @param {ViewState} state @returns {Vec} */
  crosshairOn(state) {
    const { forward } = basis(state.camera);
    return along(this.crosshair, forward, dot(subtract(state.camera.lookAt, this.crosshair), forward));
  }

  /** @param {Pane} pane @param {ViewState} state */
  change(pane, state) {
    pane.set(state);
    this.listener.changed();
  }

  /** Change a plane along its normal: the crosshair stays on it. @param {Pane} pane @param {ViewState} state */
  moveAlong(pane, state) {
    this.crosshair = this.crosshairOn(state);
    this.change(pane, state);
    this.annotations.showAll();
  }

  /** Take the crosshair to a point and the other planes through it. @param {Pane} from @param {Vec} point */
  moveCrosshair(from, point) {
    this.crosshair = point;
    for (const pane of this.planes) {
      if (pane === from || !pane.state) continue;
      const moved = moveThrough(pane.state, point);
      if (length(subtract(moved.camera.lookAt, pane.state.camera.lookAt)) > 1e-6) pane.set(moved);
    }
    this.annotations.showAll();
    this.listener.changed();
  }

  /** Panes that share a window with this one: the planes do, the 3D pane has its own. @param {Pane} pane */
  windowGroup(pane) {
    return pane.isPlane ? this.planes : [pane];
  }

  /** @param {Pane} pane @param {Window} window */
  setWindow(pane, window) {
    if (pane.isColor) return;
    for (const each of this.windowGroup(pane)) if (each.state) each.set({ ...each.state, window });
    this.listener.changed();
  }

  /** @param {Pane} pane */
  toggleInvert(pane) {
    if (pane.isColor) return;
    for (const each of this.windowGroup(pane)) if (each.state) each.set({ ...each.state, invert: !each.state.invert });
    this.listener.changed();
  }

  /** Show another volume on the same grid in the same views. @param {string} volumeId */
  setVolume(volumeId) {
    for (const each of this.panes) {
      if (each.state && each.state.volumeId !== volumeId) each.set({ ...each.state, volumeId });
    }
    this.listener.changed();
  }

  /** Whether all panes on the screen have a picture of the volume that they are to show. */
  get showsVolume() {
    return this.panes.every(
      (pane) => !pane.state || !pane.isShown || pane.painted?.asked.state.volumeId === pane.state.volumeId,
    );
  }

  /** @param {import("./tools.js").Tool} tool */
  setTool(tool) {
    this.tool = tool;
    this.grid.dataset.tool = tool;
    this.measurements.selected = null;
    this.showMeasured();
  }

  /** What was measured is another. */
  showMeasured() {
    this.annotations.showAll();
    this.listener.changed();
  }

  /** Remove the line that is selected; all where none is. */
  removeMeasurements() {
    this.measurements.remove();
    this.showMeasured();
  }

  /** @param {boolean} shown */
  showCrosshair(shown) {
    this.crosshairShown = shown;
    this.annotations.showAll();
    this.listener.changed();
  }

  /** Fit a pane's picture, and centre it. @param {Pane} pane */
  fit(pane) {
    if (pane.state && pane.viewport && this.geometry) {
      this.change(pane, fit(pane.state, this.geometry, pane.viewport));
    }
  }

  /** @param {Pane} pane @param {number} ticks */
  scroll(pane, ticks) {
    if (!pane.state || !this.geometry) return;
    const next = scrollBy(pane.state, this.geometry, ticks);
    // At the ends there is nothing to render.
    if (length(subtract(next.camera.lookAt, pane.state.camera.lookAt)) > 1e-9) this.moveAlong(pane, next);
  }

  /** The preset that applies in a pane; null if it is one made for the volume. @param {Pane} pane */
  transferOf(pane) {
    const { default_preset: preset } = this.description;
    return pane.state?.transfer ?? (preset ? { preset, shift: 0 } : null);
  }

  /** @param {Pane} pane @param {any} transfer */
  setTransfer(pane, transfer) {
    if (pane.state) this.change(pane, { ...pane.state, transfer });
  }

  /** @param {Pane} pane */
  repainted(pane) {
    this.annotations.show(pane);
    this.listener.painted();
  }
}
