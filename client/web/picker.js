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

/** More series than this are looked for by words. */
const MANY = 8;

/** What a volume is called: of a path the end, which tells files of a folder apart. @param {any} summary VolumeSummary. */
export function volumeTitle(summary) {
  return summary.description || summary.path.split("/").pop() || `Series ${summary.series_number ?? ""}`.trim();
}

/**
 * What else tells volumes of one title apart.
 *
 * @param {any} summary VolumeSummary.
 * @param {any[]} volumes All of the list.
 */
export function volumePlace(summary, volumes) {
  // The title is the file's own name: what is left is its folder.
  if (!summary.description) return summary.path.split("/").slice(0, -1).join("/");
  if (volumes.filter(({ description }) => description === summary.description).length < 2) return "";
  const number = summary.series_number === undefined ? "" : `Series ${summary.series_number}`;
  return [number, summary.path].filter(Boolean).join(" · ");
}

/**
 * Whether a text has all words that are looked for, in any order.
 *
 * @param {string} text
 * @param {string} wanted
 */
export function hasWords(text, wanted) {
  const own = text.toLowerCase();
  return wanted.toLowerCase().split(/\s+/).every((word) => own.includes(word));
}

/** Size, spacing, memory. @param {any} summary VolumeSummary. @param {boolean} [hasScale] Millimetres are known to be some. */
export function volumeFacts(summary, hasScale = true) {
  const axes = summary.slices > 1 ? 3 : 2;
  const size = [summary.columns, summary.rows, summary.slices].slice(0, axes).join(" × ");
  const spacing = summary.spacing_mm.slice(0, axes).map((/** @type {number} */ mm) => Number(mm.toFixed(2))).join(" × ");
  const { length } = phasesOf(summary);
  const phases = length > 1 ? ` · ${length} phases` : "";
  return `${size}${hasScale ? ` · ${spacing} mm` : ""}${phases} · ${formatBytes(Number(summary.bytes) * Math.max(1, length))}`;
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
    this.find = /** @type {HTMLInputElement} */ (byId("find"));
    this.find.oninput = () => this.filter();
    this.dialog.onkeydown = (event) => this.press(event);
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
    this.list.replaceChildren(...volumes.map((summary) => this.row(summary, holds(summary, current), volumes)));
    this.find.hidden = volumes.length <= MANY;
    const more = scanning ? "The server is still reading its folders." : "";
    const text = volumes.length === 0 ? `No series here yet. ${more}` : more;
    if (text) this.list.append(element("li", { class: "none" }, [text]));
    this.list.append(element("li", { class: "none", id: "not-found", hidden: "" }, ["No series has these words."]));
    this.filter();
  }

  get rows() {
    return /** @type {HTMLButtonElement[]} */ ([...this.list.querySelectorAll(".volume")]);
  }

  /** Show the rows that have the words. */
  filter() {
    const wanted = this.find.hidden ? "" : this.find.value.trim();
    for (const row of this.rows) /** @type {HTMLElement} */ (row.parentElement).hidden = !hasWords(row.innerText, wanted);
    byId("not-found").hidden = !wanted || this.shownRows.length > 0;
  }

  get shownRows() {
    return this.rows.filter((row) => !row.parentElement?.hidden);
  }

  /** Arrows go through the rows, Enter takes the first of what was found. @param {KeyboardEvent} event */
  press(event) {
    const rows = this.shownRows;
    if (event.key === "Enter" && event.target === this.find) {
      // Else it would press the button that the focus goes back to.
      event.preventDefault();
      rows[0]?.click();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || rows.length === 0) return;
    event.preventDefault();
    const at = rows.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    rows[Math.min(rows.length - 1, Math.max(0, at + step))].focus();
  }

  /** @param {any} summary @param {boolean} current @param {any[]} volumes All of the list. */
  row(summary, current, volumes) {
    const place = volumePlace(summary, volumes);
    const resident = ["RESIDENCY_RESIDENT", "RESIDENCY_HOST"].includes(summary.residency);
    const button = element("button", { type: "button", class: "volume", ...(current ? { "aria-current": "true" } : {}) }, [
      element("span", { class: "modality" }, [summary.modality || "?"]),
      element("span", { class: "volume-title" }, [volumeTitle(summary)]),
      element("span", { class: "volume-facts" }, [volumeFacts(summary)]),
      ...(place ? [element("span", { class: "volume-facts" }, [place])] : []),
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
    if (this.dialog.open) return;
    this.dialog.showModal();
    // A finger would be given a keyboard over the list.
    const first = this.find.hidden || matchMedia("(pointer: coarse)").matches ? this.rows[0] : this.find;
    first?.focus();
    if (first === this.find) this.find.select();
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
