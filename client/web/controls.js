/**
 * Toolbar, pane heads and keys: what is pressed, and how it shows what applies.
 *
 * @module controls
 */

import { byId, element } from "./elements.js";
import { lookFrom } from "./moves.js";
import { SOURCE, presetsFor, projectionWindow, sameWindow, windowChoices, windowText } from "./presets.js";

/** @typedef {import("./pane.js").Pane} Pane */
/** @typedef {import("./workspace.js").Workspace} Workspace */

const TITLES = /** @type {Record<string, string>} */ ({
  axial: "Axial",
  sagittal: "Sagittal",
  coronal: "Coronal",
  acquisition: "Acquisition",
  "3d": "3D",
});
const PROJECTIONS = [
  ["MAXIMUM_IP", "MIP"],
  ["MINIMUM_IP", "MinIP"],
  ["AVERAGE_IP", "Mean"],
];
/** Names of windows as narrow screens have room for. @type {Record<string, string>} */
const SHORT = { "Auto (what is seen)": "Auto", "Full range": "Full", Mediastinum: "Mediast.", "Soft tissue": "Soft" };
const THIN = "thin";
const FIRST_SLAB_MM = 10;
const MAX_SLAB_MM = 80;
const MAXIMISE = '<svg viewBox="0 0 16 16"><path d="M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5l-5 5M2.5 13.5l5-5"/></svg>';

/** @param {string} html Markup of this module only. */
function icon(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

/** @param {HTMLSelectElement} select @param {string[][]} options Value and label. */
function fill(select, options) {
  select.replaceChildren(...options.map(([value, label]) => element("option", { value }, [label])));
}

/** The row of controls at the top of a pane. */
export class PaneHead {
  /**
   * @param {Pane} pane
   * @param {Workspace} workspace
   */
  constructor(pane, workspace) {
    this.pane = pane;
    this.workspace = workspace;
    const title = TITLES[pane.name];
    this.name = element("span", { class: "pane-name" }, [title]);
    this.mode = element("select", { class: "mode", "aria-label": `${title}: projection` });
    this.slab = element("input", {
      type: "range", min: "1", max: String(MAX_SLAB_MM), step: "1", "aria-label": `${title}: slab thickness in mm`,
    });
    this.slabText = element("output", {});
    this.slabBox = element("label", { class: "slab", hidden: "" }, [this.slab, this.slabText]);
    this.preset = element("select", { class: "preset", "aria-label": "Volume rendering preset", hidden: "" });
    this.shift = element("input", { type: "range", min: "-1", max: "1", step: "0.01", "aria-label": "Shift of the preset" });
    this.shiftBox = element("label", { class: "slab", title: "Moves the preset along the values", hidden: "" }, [
      "Shift",
      this.shift,
    ]);
    this.grow = element("button", { class: "icon maximise", type: "button", "aria-label": `Maximise ${title}` });
    this.grow.append(icon(MAXIMISE));
    fill(this.mode, pane.isPlane ? [[THIN, "Thin"], ...PROJECTIONS] : [["VOLUME_RENDERED", "VR"], ...PROJECTIONS]);
    this.head = element("div", { class: "pane-head" }, [this.name, this.mode]);
    this.head.append(...(pane.isPlane ? [this.slabBox] : [this.preset, this.shiftBox]));
    pane.element.append(this.head, this.grow);
    if (!pane.isPlane) pane.element.append(this.sides());
    this.mode.onchange = () => this.changeMode(this.mode.value);
    this.slab.oninput = () => this.changeSlab(Number(this.slab.value));
    this.shift.oninput = () => {
      const transfer = workspace.transferOf(pane);
      if (transfer) workspace.setTransfer(pane, { ...transfer, shift: Number(this.shift.value) * this.shiftReach });
    };
    this.preset.onchange = () => workspace.setTransfer(pane, this.preset.value ? { preset: this.preset.value, shift: 0 } : null);
    this.grow.onclick = () => workspace.maximise(workspace.maximised === null ? pane.name : null);
  }

  sides() {
    const { pane, workspace } = this;
    const buttons = [["A", "front"], ["P", "back"], ["L", "left"], ["R", "right"], ["H", "head"], ["F", "feet"]].map(([side, words]) => {
      const button = element("button", { type: "button", "aria-label": `Look from the ${words}`, title: `From the ${words}` }, [side]);
      button.onclick = () => pane.state && workspace.change(pane, lookFrom(pane.state, /** @type {any} */ (side)));
      return button;
    });
    return element("div", { class: "sides", role: "group", "aria-label": "Look from" }, buttons);
  }

  /** How far a preset can be moved either way, modality units. */
  get shiftReach() {
    const { minimum_value: low, maximum_value: high } = this.workspace.description;
    return (high - low) / 4 || 1;
  }

  /** @param {string} mode */
  changeMode(mode) {
    const { pane, workspace } = this;
    if (!pane.state) return;
    if (!pane.isPlane) {
      const window = projectionWindow(workspace.description, mode, pane.state.window);
      workspace.change(pane, { ...pane.state, method: mode, window });
    } else if (mode === THIN) workspace.change(pane, { ...pane.state, method: "AVERAGE_IP", slab: 0 });
    else workspace.change(pane, { ...pane.state, method: mode, slab: pane.state.slab || FIRST_SLAB_MM });
  }

  /** @param {number} slab mm. */
  changeSlab(slab) {
    if (this.pane.state) this.workspace.change(this.pane, { ...this.pane.state, slab });
  }

  /** @param {string[]} presets Of the server. */
  setPresets(presets) {
    const { default_preset: own, summary } = this.workspace.description;
    const options = presetsFor(presets, summary.modality).map((name) => [name, name.replaceAll("-", " ")]);
    fill(this.preset, own ? options : [["", "Default"], ...options]);
  }

  /** Show what applies. */
  refresh() {
    const { state, isPlane, title } = this.pane;
    // An image that lies nowhere in the patient is in none of the planes.
    this.name.textContent = this.workspace.description?.unplaced ? "Image" : TITLES[title];
    this.grow.setAttribute("aria-pressed", String(this.workspace.maximised === this.pane.name));
    if (!state) return;
    this.mode.hidden = this.pane.isColorImage;
    this.mode.value = isPlane && state.slab === 0 ? THIN : state.method;
    this.slabBox.hidden = !isPlane || state.slab === 0;
    this.slab.value = String(state.slab ?? 0);
    this.slabText.textContent = `${state.slab} mm`;
    const rendered = state.method === "VOLUME_RENDERED";
    this.preset.hidden = !rendered;
    const transfer = rendered ? this.workspace.transferOf(this.pane) : null;
    this.shiftBox.hidden = !transfer;
    this.preset.value = transfer?.preset ?? "";
    this.shift.value = String((transfer?.shift ?? 0) / this.shiftReach);
  }
}

/** The bar over all panes. Its buttons act on the active pane. */
export class Toolbar {
  /** @param {Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    /** @type {import("./presets.js").WindowChoice[]} */
    this.choices = [];
    this.windows = /** @type {HTMLSelectElement} */ (byId("windows"));
    this.windows.onchange = () => this.applyChoice(this.choices[Number(this.windows.value)]);
    this.windowsName = byId("windows-name");
    this.tabs = byId("tablist");
    this.buttons = new Map(
      [...document.querySelectorAll("[data-action]")].map((button) => [
        /** @type {HTMLElement} */ (button).dataset.action,
        /** @type {HTMLButtonElement} */ (button),
      ]),
    );
    const actions = /** @type {Record<string, () => void>} */ ({
      invert: () => workspace.toggleInvert(workspace.active),
      crosshair: () => workspace.showCrosshair(!workspace.crosshairShown),
      fit: () => workspace.fit(workspace.active),
      reset: () => workspace.reset(),
    });
    for (const [name, act] of Object.entries(actions)) this.button(name).onclick = act;
    for (const pane of [...workspace.panes.map((each) => each.name), ""]) {
      const tab = element("button", { type: "button", role: "tab", "data-tab": pane }, [pane ? TITLES[pane] : "All"]);
      tab.onclick = () => workspace.maximise(pane || null);
      this.tabs.append(tab);
    }
  }

  /** @param {string} action */
  button(action) {
    return /** @type {HTMLButtonElement} */ (this.buttons.get(action));
  }

  /** A volume has been opened. */
  open() {
    this.choices = windowChoices(this.workspace.description);
    fill(
      this.windows,
      this.choices.map(({ label, window, key }, index) => {
        const figures = window === "auto" ? "" : `  ${windowText(window)}`;
        return [String(index), `${key ? `${key}  ` : ""}${label}${figures}`];
      }),
    );
    fill(this.windows, [["", "Window"], ...[...this.windows.options].map((option) => [option.value, option.text])]);
    this.windows.options[0].hidden = true;
  }

  /** @param {import("./presets.js").WindowChoice | undefined} choice */
  applyChoice(choice) {
    if (!choice) return;
    const { workspace } = this;
    const window = choice.window === "auto" ? workspace.active.autoWindow() : choice.window;
    if (window) workspace.setWindow(workspace.active, window);
    else this.refresh();
  }

  /** @param {string} key @returns {boolean} Whether it was one of the window's. */
  press(key) {
    const choice = this.choices.find((candidate) => candidate.key === key);
    if (choice) this.applyChoice(choice);
    return Boolean(choice);
  }

  /** Show what applies to the active pane. */
  refresh() {
    const { active, maximised, crosshairShown, only } = this.workspace;
    this.button("invert").setAttribute("aria-pressed", String(Boolean(active.state?.invert) && !active.isColor));
    this.button("crosshair").setAttribute("aria-pressed", String(crosshairShown));
    this.button("crosshair").disabled = Boolean(only);
    const color = active.isColor;
    this.windows.disabled = color || !active.state;
    this.button("invert").disabled = color || !active.state;
    const index = this.choices.findIndex(
      ({ window }) => window !== "auto" && active.state && sameWindow(window, active.state.window),
    );
    this.windows.value = color || index < 0 ? "" : String(index);
    const custom = active.state && !color ? `Custom ${windowText(active.state.window)}` : "Window";
    this.windows.options[0]?.replaceChildren(custom);
    const label = color || !active.state ? "Window" : (this.choices[index]?.label.replace(SOURCE, "") ?? "Custom");
    this.windowsName.textContent = SHORT[label] ?? label;
    for (const tab of /** @type {HTMLCollectionOf<HTMLElement>} */ (this.tabs.children)) {
      const pane = this.workspace.panes.find(({ name }) => name === tab.dataset.tab);
      if (pane) tab.textContent = only && this.workspace.description?.unplaced ? "Image" : TITLES[pane.title];
      tab.hidden = Boolean(only) && pane !== only;
      tab.setAttribute("aria-selected", String(tab.dataset.tab === (maximised ?? "")));
    }
  }
}
