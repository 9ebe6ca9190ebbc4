/**
 * What the left button, or one finger, does: the menu of tools, its keys, and the removal of what was measured.
 *
 * @module tools
 */

import { byId, element } from "./elements.js";

/** @typedef {import("./workspace.js").Workspace} Workspace */
/** @typedef {"window" | "slices" | "pan" | "zoom" | "measure"} Tool */

/** Key, and word. @type {Record<Tool, [string, string]>} */
const TOOLS = {
  window: ["w", "Window"],
  slices: ["s", "Slices"],
  pan: ["t", "Move"],
  zoom: ["z", "Zoom"],
  measure: ["m", "Measure"],
};

/** A finger has neither a wheel nor other buttons: slices are what it is used for most. @returns {Tool} */
export const firstTool = () => (matchMedia("(pointer: coarse)").matches ? "slices" : "window");

/** The menu in the bar. */
export class ToolMenu {
  /** @param {Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.menu = /** @type {HTMLSelectElement} */ (byId("tool"));
    for (const [tool, [, word]] of Object.entries(TOOLS)) this.menu.append(element("option", { value: tool }, [word]));
    this.menu.onchange = () => workspace.setTool(/** @type {Tool} */ (this.menu.value));
    this.erase = byId("erase");
    this.erase.onclick = () => workspace.removeMeasurements();
    this.refresh();
  }

  /** @param {string} key @returns {boolean} Whether it was one of the tools'. */
  press(key) {
    const { measurements } = this.workspace;
    if ((key === "Delete" || key === "Backspace") && measurements.selected) {
      this.workspace.removeMeasurements();
      return true;
    }
    const entry = Object.entries(TOOLS).find(([, [own]]) => own === key);
    if (entry) this.workspace.setTool(/** @type {Tool} */ (entry[0]));
    return Boolean(entry);
  }

  /** Show what applies. */
  refresh() {
    const { tool, measurements } = this.workspace;
    this.menu.value = tool;
    this.erase.hidden = measurements.lines.length === 0;
    const words = measurements.selected ? "Remove the measurement" : "Remove all measurements";
    this.erase.title = `${words} (Delete)`;
    this.erase.setAttribute("aria-label", words);
  }
}
