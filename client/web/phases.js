/**
 * The bar of a series of several volumes on one grid: a slider over times, echoes or frames, and play.
 *
 * Another phase is another volume in the same views: nothing else of them changes.
 *
 * @module phases
 */

import { byId, element, svgElement } from "./elements.js";

/** @typedef {import("./workspace.js").Workspace} Workspace */
/** @typedef {{volume_id: string, label: string}} Phase */

/** Of phases whose pace the source does not tell: heart phases and passes of contrast are seen well at it. */
const PHASE_MS = 100;
/** Pictures come no faster than a screen shows them. */
const LEAST_MS = 1000 / 60;
const PLAY = "M4 2.5v11l9-5.5z";
const PAUSE = "M4 2.5h3v11H4zM9 2.5h3v11H9z";

/** @param {any} summary VolumeSummary. @returns {Phase[]} */
export const phasesOf = (summary) => summary?.phases ?? [];

/** Whether a volume is a summary's own or one of its phases. @param {any} summary VolumeSummary. @param {string} volumeId */
export const holds = (summary, volumeId) =>
  summary?.volume_id === volumeId || phasesOf(summary).some((phase) => phase.volume_id === volumeId);

/** How long a phase is shown, ms. @param {any} summary VolumeSummary. */
export const paceOf = (summary) => Math.max(LEAST_MS, summary.phase_ms || PHASE_MS);

/** The bar, and the clock of what plays. */
export class PhaseBar {
  /** @param {Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.timer = 0;
    this.path = svgElement("path", { class: "solid" });
    const icon = svgElement("svg", { viewBox: "0 0 16 16" });
    icon.append(this.path);
    this.button = element("button", { type: "button", class: "icon" });
    this.button.append(icon);
    this.slider = element("input", { type: "range", min: "0", step: "1", "aria-label": "Phase" });
    this.text = element("output", {});
    this.bar = byId("phases");
    this.bar.append(this.button, this.slider, this.text);
    this.button.onclick = () => (this.timer ? this.stop() : this.play());
    this.slider.oninput = () => {
      this.stop();
      this.show(Number(this.slider.value));
    };
    this.refresh();
  }

  get phases() {
    return phasesOf(this.workspace.description?.summary);
  }

  /** Which phase the views show; 0 where there is none. */
  get current() {
    const { volumeId } = this.workspace.active.state ?? {};
    return Math.max(0, this.phases.findIndex((phase) => phase.volume_id === volumeId));
  }

  /** @param {number} index Past either end, it begins at the other. */
  show(index) {
    const { length } = this.phases;
    if (length) this.workspace.setVolume(this.phases[(index + length) % length].volume_id);
    this.refresh();
  }

  play() {
    if (this.phases.length < 2) return;
    this.timer = setInterval(() => {
      // A phase that has not arrived yet is waited for, on a slow link or before all are in memory.
      if (this.workspace.showsVolume) this.show(this.current + 1);
    }, paceOf(this.workspace.description.summary));
    this.refresh();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.refresh();
  }

  /** @param {string} key @returns {boolean} Whether it was one of the bar's. */
  press(key) {
    if (this.phases.length < 2 || !["[", "]", "p"].includes(key)) return false;
    if (key === "p") this.button.click();
    else {
      this.stop();
      this.show(this.current + (key === "]" ? 1 : -1));
    }
    return true;
  }

  /** Show what applies. */
  refresh() {
    const { phases, current, timer } = this;
    const words = timer ? "Pause" : "Play";
    this.button.setAttribute("aria-label", words);
    this.button.title = `${words} (P)`;
    this.path.setAttribute("d", timer ? PAUSE : PLAY);
    this.bar.hidden = phases.length < 2;
    if (this.bar.hidden) return;
    this.slider.max = String(phases.length - 1);
    this.slider.value = String(current);
    this.text.textContent = `${current + 1} / ${phases.length}  ${phases[current].label}`;
  }
}
