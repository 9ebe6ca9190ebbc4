/**
 * The four panes and what links them: the crosshair, the planes' common window, the layout.
 *
 * @module workspace
 */

import { Gestures } from "./gestures.js";
import { planePosition } from "./overlay.js";
import { Pane } from "./pane.js";
import { dragWindow, projectionWindow, windowText } from "./presets.js";
import { along, cross, dot, length, normalize, subtract } from "./vector.js";
import * as views from "./view-state.js";

/** @typedef {import("./vector.js").Vec} Vec */
/** @typedef {import("./view-state.js").ViewState} ViewState */
/** @typedef {import("./view-state.js").Window} Window */
/** @typedef {import("./pane.js").Host} Host */

/** In reading order. */
export const PANE_NAMES = ["axial", "sagittal", "coronal", "3d"];
/** Distance from the crosshair's centre at which a drag takes it along, CSS px. */
const HANDLE_PX = 12;
/** A drag over the pane's shorter side turns the volume half around. */
const TURN_PER_SIDE = Math.PI;
/** Magnification for a vertical drag of one CSS px, and for a wheel tick. */
const ZOOM_PER_PX = 1.006;
const ZOOM_PER_TICK = 1.12;
const ARROW_TURN = Math.PI / 36;
const ROLL_TURN = Math.PI / 2;
const PAGE_SLICES = 10;

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
    /** Where it was before the tap that may become a double tap. @type {Vec} */
    this.crosshairBefore = this.crosshair;
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
    /** The pointer, over at most one pane. @type {{pane: Pane, at: {x: number, y: number}} | null} */
    this.hovered = null;
    for (const pane of this.panes) {
      grid.append(pane.element);
      this.listen(pane);
    }
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
    const named = new Map(description.initial_views.map((/** @type {any} */ item) => [item.name, item.view]));
    for (const pane of this.panes) {
      pane.open(description, geometry);
      pane.title = pane.name;
      this.initial.set(pane.name, views.fromWire(named.get(pane.name), description.default_window));
    }
    const whole = /** @type {ViewState} */ (this.initial.get("3d"));
    this.initial.set("3d", { ...whole, window: projectionWindow(description, whole.method, whole.window) });
    if (named.has("acquisition")) {
      this.takeAcquisition(views.fromWire(named.get("acquisition"), description.default_window));
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
      Math.abs(dot(direction, views.basis(/** @type {ViewState} */ (this.initial.get(pane.name)).camera).forward));
    return this.planes.reduce((best, pane) => (nearness(pane) > nearness(best) ? pane : best));
  }

  /** @param {ViewState} state Of the plane of an oblique acquisition. */
  takeAcquisition(state) {
    const nearest = this.nearest(views.basis(state.camera).forward);
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
      const onSlice = views.scrollBy(/** @type {ViewState} */ (states.get(name)), geometry, 0);
      states.set(name, onSlice);
      this.crosshair = this.crosshairOn(onSlice);
    }
    for (const pane of this.panes) {
      const state = states.get(pane.name);
      if (!state) continue;
      const through = pane.isPlane ? views.moveThrough(state, this.crosshair) : state;
      pane.unfitted = !pane.viewport;
      if (pane.viewport) pane.set(this.fitted(pane, through));
      else pane.state = through;
    }
    this.decorateAll();
    this.listener.changed();
  }

  /** @param {Pane} pane @param {ViewState} state */
  fitted(pane, state) {
    const how = pane.title === "acquisition" ? views.fitNative : views.fit;
    return how(state, /** @type {any} */ (this.geometry), /** @type {any} */ (pane.viewport));
  }

  /** @param {Pane} pane */
  resized(pane) {
    if (!pane.state || !pane.viewport) return;
    if (pane.unfitted) pane.state = this.fitted(pane, pane.state);
    pane.unfitted = false;
    pane.send(null);
    this.decorate(pane);
  }

  /** @param {Pane} pane */
  activate(pane) {
    this.active = pane;
    for (const each of this.panes) each.element.classList.toggle("active", each === pane);
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
    const { forward } = views.basis(state.camera);
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
    this.decorateAll();
  }

  /** Take the crosshair to a point and the other planes through it. @param {Pane} from @param {Vec} point */
  moveCrosshair(from, point) {
    this.crosshair = point;
    for (const pane of this.planes) {
      if (pane === from || !pane.state) continue;
      const moved = views.moveThrough(pane.state, point);
      if (length(subtract(moved.camera.lookAt, pane.state.camera.lookAt)) > 1e-6) pane.set(moved);
    }
    this.decorateAll();
    this.listener.changed();
  }

  /** Panes that share a window with this one: the planes do, the 3D pane has its own. @param {Pane} pane */
  windowGroup(pane) {
    return pane.isPlane ? this.planes : [pane];
  }

  /** @param {Pane} pane @param {Window} window */
  setWindow(pane, window) {
    if (pane.isColorImage) return;
    for (const each of this.windowGroup(pane)) if (each.state) each.set({ ...each.state, window });
    this.listener.changed();
  }

  /** @param {Pane} pane */
  toggleInvert(pane) {
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

  /** @param {boolean} shown */
  showCrosshair(shown) {
    this.crosshairShown = shown;
    this.decorateAll();
    this.listener.changed();
  }

  /** Fit a pane's picture, and centre it. @param {Pane} pane */
  fit(pane) {
    if (pane.state && pane.viewport && this.geometry) {
      this.change(pane, views.fit(pane.state, this.geometry, pane.viewport));
    }
  }

  /** @param {Pane} pane @param {number} ticks */
  scroll(pane, ticks) {
    if (!pane.state || !this.geometry) return;
    const next = views.scrollBy(pane.state, this.geometry, ticks);
    // At the ends there is nothing to render.
    if (length(subtract(next.camera.lookAt, pane.state.camera.lookAt)) > 1e-9) this.moveAlong(pane, next);
  }

  /** @param {Pane} pane */
  listen(pane) {
    const viewport = () => /** @type {import("./view-state.js").Viewport} */ (pane.viewport);
    new Gestures(pane.stage, {
      grab: (at) => {
        this.activate(pane);
        // Keys are for the pane now, not for the menu that was used last.
        pane.stage.focus({ preventScroll: true });
        return this.crosshairShown && pane.isPlane && this.nearCrosshair(pane, at);
      },
      drag: (kind, dx, dy, at) => {
        if (!pane.state) return;
        this.activate(pane);
        const scale = viewport().width / pane.stage.clientWidth;
        if (kind === "pan") this.change(pane, views.pan(pane.state, viewport(), dx * scale, dy * scale));
        else if (kind === "zoom") this.change(pane, views.zoom(pane.state, viewport(), ZOOM_PER_PX ** -dy));
        else if (kind === "grab") this.moveCrosshair(pane, this.pointAt(pane, at));
        else if (kind === "primary" && !pane.isPlane) this.turn(pane, dx, dy);
        else if (pane.state.method === "VOLUME_RENDERED") this.shiftTransfer(pane, dy);
        else this.setWindow(pane, dragWindow(pane.state.window, dx, dy, this.description));
      },
      pinch: (factor, at) => {
        if (pane.state) this.change(pane, views.zoom(pane.state, viewport(), factor, pane.toPixel(at)));
      },
      wheel: (ticks, at) => {
        if (pane.isPlane) this.scroll(pane, ticks);
        else if (pane.state) {
          this.change(pane, views.zoom(pane.state, viewport(), ZOOM_PER_TICK ** -ticks, pane.toPixel(at)));
        }
      },
      tap: (at) => {
        this.crosshairBefore = this.crosshair;
        if (pane.isPlane && pane.state && this.crosshairShown) this.moveCrosshair(pane, this.pointAt(pane, at));
      },
      doubleTap: () => {
        // Its first tap has moved the crosshair.
        if (pane.isPlane && this.crosshairShown) this.moveCrosshair(pane, this.crosshairBefore);
        this.maximise(this.maximised === null ? pane.name : null);
      },
      hover: (at) => {
        this.hovered = at && { pane, at };
        this.showReadout(pane);
      },
      end: () => this.listener.changed(),
    });
    // Also by its menus and sliders: keys and toolbar are for the pane that was touched last.
    for (const kind of ["pointerdown", "focusin", "change"]) {
      pane.element.addEventListener(kind, () => pane !== this.active && this.activate(pane), { capture: true });
    }
  }

  /** @param {Pane} pane @param {number} dx CSS px. @param {number} dy */
  turn(pane, dx, dy) {
    const perPixel = TURN_PER_SIDE / Math.min(pane.stage.clientWidth, pane.stage.clientHeight);
    if (pane.state) this.change(pane, views.rotate(pane.state, dx * perPixel, dy * perPixel));
  }

  /** Move the transfer function along the values, if it has a name. @param {Pane} pane @param {number} dy CSS px. */
  shiftTransfer(pane, dy) {
    const transfer = this.transferOf(pane);
    if (!transfer) return;
    const span = this.description.maximum_value - this.description.minimum_value;
    this.setTransfer(pane, { ...transfer, shift: transfer.shift + (dy * span) / 2000 });
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

  /** @param {Pane} pane @param {{x: number, y: number}} at CSS px. @returns {Vec} */
  pointAt(pane, at) {
    const pixel = pane.toPixel(at);
    const { state, viewport } = pane;
    return views.patientFromPixel(/** @type {any} */ (state), /** @type {any} */ (viewport), pixel.x, pixel.y);
  }

  /** @param {Pane} pane @param {{x: number, y: number}} at */
  nearCrosshair(pane, at) {
    if (!pane.painted) return false;
    const { state, viewport } = pane.painted.asked;
    const center = pane.toCss(views.pixelFromPatient(state, viewport, this.crosshair));
    return Math.hypot(center.x - at.x, center.y - at.y) < HANDLE_PX;
  }

  /**
   * A key for the active pane.
   *
   * @param {string} key
   * @returns {boolean} Whether it means something here.
   */
  press(key) {
    const { active: pane, geometry } = this;
    if (!pane.state || !geometry) return false;
    const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[key];
    if (steps && pane.isPlane) this.scroll(pane, steps[0] + steps[1]);
    else if (steps) this.change(pane, views.rotate(pane.state, steps[0] * ARROW_TURN, steps[1] * ARROW_TURN));
    else if (key === "PageUp" || key === "PageDown") this.scroll(pane, key === "PageUp" ? -PAGE_SLICES : PAGE_SLICES);
    else if ((key === "Home" || key === "End") && pane.isPlane) this.scroll(pane, key === "Home" ? -1e9 : 1e9);
    else if (key === "i") this.toggleInvert(pane);
    else if (key === "r" || key === "l") this.change(pane, views.roll(pane.state, key === "r" ? ROLL_TURN : -ROLL_TURN));
    else if (key === "h") this.change(pane, { ...pane.state, flipHorizontal: !pane.state.flipHorizontal });
    else if (key === "v") this.change(pane, { ...pane.state, flipVertical: !pane.state.flipVertical });
    else if (key === " ") this.reset();
    else if (key === "=") this.fit(pane);
    else if (key === "n" && pane.viewport) this.change(pane, views.fitNative(pane.state, geometry, pane.viewport));
    else return false;
    return true;
  }

  /** @param {Pane} pane */
  repainted(pane) {
    this.decorate(pane);
    this.listener.painted();
  }

  decorateAll() {
    for (const pane of this.panes) this.decorate(pane);
  }

  /** Write and draw what belongs to the painted picture, which may lag behind the state. @param {Pane} pane */
  decorate(pane) {
    // A hidden pane has no size; it is painted again when it is shown.
    if (!pane.painted || !pane.state || !this.geometry || pane.stage.clientWidth === 0) return;
    const { state, viewport } = pane.painted.asked;
    const { overlay } = pane;
    overlay.showGeometry(state, viewport);
    const others = this.planes.filter((other) => other !== pane && other.state);
    const at = this.crosshairShown && pane.isPlane && !this.only ? views.pixelFromPatient(state, viewport, this.crosshair) : null;
    overlay.showCrosshair(
      at && pane.toCss(at),
      others.map((other) => ({
        direction: views.cutDirection(state, /** @type {ViewState} */ (other.state)),
        color: `var(--${other.name})`,
      })),
    );
    const { window } = pane.painted.decoded.codes ? pane.state : state;
    const color = state.method === "VOLUME_RENDERED";
    overlay.windowText.textContent = color || pane.isColorImage
      ? shiftText(state.transfer)
      : `${windowText(window)}${unitText(this.description.units)}${pane.inverted ? "  INV" : ""}`;
    if (pane.isPlane) {
      const { index, count } = views.slicePosition(state, this.geometry);
      overlay.slice.textContent = `${Math.min(count, Math.max(1, Math.round(index) + 1))} / ${count}`;
      overlay.position.textContent = planePosition(state);
    }
    this.showReadout(pane);
  }

  /** @param {Pane} pane */
  showReadout(pane) {
    pane.overlay.readout.textContent = pane.valueText(this.hovered?.pane === pane ? this.hovered.at : null);
  }
}

/** A unit behind the figures of a window; HU goes without saying. @param {string} units */
const unitText = (units) => (units && units !== "HU" ? ` ${units}` : "");

/** How far a preset has been moved along the values. @param {any} transfer TransferFunction of the wire, or null. */
export function shiftText(transfer) {
  const shift = Math.round(transfer?.shift ?? 0);
  return shift === 0 ? "" : `Shift ${shift > 0 ? "+" : "-"}${Math.abs(shift)}`;
}
