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

/** The state of the connection, the warning over the panes, and notices that go by themselves. */
export class StatusBar {
  constructor() {
    this.noticeTimer = 0;
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

  /** @param {string} text */
  notice(text) {
    const box = byId("notice");
    box.textContent = text;
    box.hidden = false;
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => (box.hidden = true), NOTICE_MS);
  }
}
