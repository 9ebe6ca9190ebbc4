/**
 * The list of volumes, and how far a load is.
 *
 * @module picker
 */

import { byId, element } from "./elements.js";
import { holds, phasesOf } from "./phases.js";

const STAGES = /** @type {Record<string, string>} */ ({ reading: "Reading", decoding: "Decoding", uploading: "Preparing" });

/** A size as text. @param {number} bytes */
function formatBytes(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}

/** What a volume is called. @param {any} summary VolumeSummary. */
export function volumeTitle(summary) {
  return summary.description || summary.path || `Series ${summary.series_number ?? ""}`.trim();
}

/** Size, spacing, memory. @param {any} summary VolumeSummary. */
export function volumeFacts(summary) {
  const axes = summary.slices > 1 ? 3 : 2;
  const size = [summary.columns, summary.rows, summary.slices].slice(0, axes).join(" × ");
  const spacing = summary.spacing_mm.slice(0, axes).map((/** @type {number} */ mm) => Number(mm.toFixed(2))).join(" × ");
  const { length } = phasesOf(summary);
  const phases = length > 1 ? ` · ${length} phases` : "";
  return `${size} · ${spacing} mm${phases} · ${formatBytes(Number(summary.bytes) * Math.max(1, length))}`;
}

/** How far a load is. @param {any} progress LoadProgress. */
export function progressText({ stage, done, total }) {
  const name = STAGES[stage] ?? (stage ? stage[0].toUpperCase() + stage.slice(1) : "Opening");
  return total ? `${name} ${done} of ${total}` : `${name}…`;
}

/** The dialog of volumes. */
export class Picker {
  /** @param {(volumeId: string) => void} choose */
  constructor(choose) {
    this.choose = choose;
    this.dialog = /** @type {HTMLDialogElement} */ (byId("picker"));
    this.shown = "";
    this.note = byId("picker-note");
    this.list = byId("volumes");
    this.progress = byId("progress");
    this.bar = /** @type {HTMLProgressElement} */ (this.progress.querySelector("progress"));
    this.text = /** @type {HTMLElement} */ (this.progress.querySelector("span"));
  }

  /**
   * @param {any[]} volumes VolumeSummary.
   * @param {string} current Its id; empty if none.
   * @param {boolean} scanning There may be more.
   */
  show(volumes, current, scanning) {
    // The list is asked for again and again: an unchanged one keeps its focus.
    const key = JSON.stringify([volumes, current, scanning]);
    if (key === this.shown) return;
    this.shown = key;
    this.list.replaceChildren(...volumes.map((summary) => this.row(summary, holds(summary, current))));
    const more = scanning ? "The server is still reading its folders." : "";
    const text = volumes.length === 0 ? `No series here yet. ${more}` : more;
    if (text) this.list.append(element("li", { class: "none" }, [text]));
  }

  /** @param {any} summary @param {boolean} current */
  row(summary, current) {
    const resident = ["RESIDENCY_RESIDENT", "RESIDENCY_HOST"].includes(summary.residency);
    const button = element("button", { type: "button", class: "volume", ...(current ? { "aria-current": "true" } : {}) }, [
      element("span", { class: "modality" }, [summary.modality || "?"]),
      element("span", { class: "volume-title" }, [volumeTitle(summary)]),
      element("span", { class: "volume-facts" }, [volumeFacts(summary)]),
      element("span", { class: resident ? "residency resident" : "residency" }, [resident ? "in memory" : ""]),
    ]);
    button.onclick = () => {
      this.dialog.close();
      this.choose(summary.volume_id);
    };
    return element("li", {}, [button]);
  }

  /** Say why the list is shown. @param {string} why */
  say(why) {
    if (this.note.textContent === why) return;
    this.note.textContent = why;
    this.note.hidden = !why;
  }

  open() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {any} progress LoadProgress; null when done. */
  showProgress(progress) {
    this.progress.hidden = !progress;
    if (!progress) return;
    const { done, total } = progress;
    this.text.textContent = progressText(progress);
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
  }
}
