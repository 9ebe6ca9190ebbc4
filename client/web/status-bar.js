/**
 * What the page says of its connection, and of pictures that are not the server's word.
 *
 * @module status-bar
 */

import { byId } from "./elements.js";

/** @typedef {import("./stream.js").Status} Status */

const NOTICE_MS = 8000;
const READING = "the server is still reading its folders";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  draining: "Server stops",
  locked: "Locked",
  ended: "Ended: reload",
};

/**
 * Why a picture is not the server's word, where the status says it.
 *
 * @type {Partial<Record<import("./stream.js").Status, string>>}
 */
const LOST = {
  connecting: "connecting to the server again",
  waiting: "the connection to the server is lost",
  locked: "the server asks for a token",
  ended: "the server ended this session; reload the page",
};

/** What a server warns of, a line each, as sentences. @param {string[]} warnings */
export const sentences = (warnings) =>
  warnings.map((words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`).join("\n");

/** The state of the connection, the warning over the panes, and notices. */
export class StatusBar {
  constructor() {
    this.noticeTimer = 0;
    this.box = byId("notice");
    this.words = /** @type {HTMLElement} */ (this.box.querySelector("span"));
    /** @type {HTMLElement} */ (this.box.querySelector("button")).onclick = () => (this.box.hidden = true);
  }

  /**
   * @param {Status} status
   * @param {object} pictures
   * @param {boolean} pictures.isStale One on the screen is left over.
   * @param {boolean} pictures.missing The server does not know the volume: not yet, or not any more.
   * @param {boolean} pictures.scanning The server has not read all of its folders.
   * @param {string} pictures.loading How far the server is with what it has forgotten.
   */
  show(status, { isStale, missing, scanning, loading }) {
    const isMissing = missing && status === "live";
    let why = LOST[status] ?? (loading ? `the server loads this series: ${loading}` : "waiting for the picture");
    if (isMissing) why = scanning ? READING : "the server does not have this series any more";
    const box = byId("stale");
    box.textContent = `Not live: ${why}`;
    box.hidden = !isMissing && !isStale;
    const state = byId("status");
    state.textContent = isMissing ? "Not live" : WORDS[status];
    state.dataset.status = isMissing ? "waiting" : status;
  }

  /** Say something that goes by itself. @param {string} text */
  notice(text) {
    this.keep(text);
    this.noticeTimer = setTimeout(() => (this.box.hidden = true), NOTICE_MS);
  }

  /** Say something until it is dismissed. @param {string} text */
  keep(text) {
    clearTimeout(this.noticeTimer);
    this.words.textContent = text;
    this.box.hidden = false;
  }
}
