/**
 * Sharing what is seen: the button, and the panel with the link and the way to end it.
 *
 * @module sharing
 */

import { byId } from "./elements.js";

/** @typedef {import("./stream.js").Sharing} Sharing */

/** @param {string} shareId Where it is watched. */
export const watchFragment = (shareId) => `#watch=${encodeURIComponent(shareId)}`;

/** Shares, takes the wheel, leaves; shows the link and how many watch. */
export class SharePanel {
  /** @param {{share: () => void, drive: () => void, stop: () => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.button = byId("share");
    this.leave = byId("leave");
    this.panel = byId("sharing");
    this.link = /** @type {HTMLInputElement} */ (byId("share-link"));
    this.copyButton = byId("share-copy");
    this.count = byId("share-count");
    /** @type {Sharing | null} */
    this.sharing = null;
    this.watching = false;
    this.button.onclick = () => this.press();
    this.leave.onclick = () => actions.stop();
    this.copyButton.onclick = () => this.copy();
    this.link.onfocus = () => this.link.select();
    byId("share-stop").onclick = () => actions.stop();
    byId("share-close").onclick = () => this.close();
    this.panel.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    };
  }

  press() {
    if (this.watching) this.actions.drive();
    else if (!this.sharing) this.actions.share();
    else if (this.panel.hidden) this.open();
    else this.close();
  }

  open() {
    this.panel.hidden = false;
    this.copyButton.textContent = "Copy";
    this.copyButton.focus();
  }

  close() {
    this.panel.hidden = true;
    this.button.focus();
  }

  /**
   * @param {Sharing | null} sharing
   * @param {boolean} watching Another one sets what is seen.
   */
  show(sharing, watching) {
    const isNew = sharing?.driving && sharing.participants === 1 && this.sharing?.share_id !== sharing.share_id;
    this.sharing = sharing;
    this.watching = watching;
    this.leave.hidden = !watching;
    let words = ["", "Share"];
    let title = "Let others watch what you do, by a link";
    if (watching) {
      words = [sharing?.driven === false ? "Nobody drives: " : "Watching: ", "take the wheel"];
      title = "Another one sets what is seen here; from then on you do";
    } else if (sharing) {
      words = ["You drive · ", `${sharing.participants - 1} watching`];
      title = "The link, and the end of sharing";
      this.link.value = new URL(watchFragment(sharing.share_id), location.href).href;
      this.count.textContent = words[1];
    }
    const [first, last] = /** @type {HTMLCollectionOf<HTMLElement>} */ (this.button.children);
    first.textContent = words[0];
    last.textContent = words[1];
    this.button.title = title;
    if (!sharing?.driving) this.panel.hidden = true;
    else if (isNew) this.open();
  }

  async copy() {
    this.link.select();
    let isCopied = false;
    try {
      await navigator.clipboard.writeText(this.link.value);
      isCopied = true;
    } catch {
      // Over plain HTTP there is no such thing; what is selected can be copied all the same.
      this.link.focus();
      isCopied = document.execCommand("copy");
    }
    this.copyButton.textContent = isCopied ? "Copied" : "Press Ctrl+C";
  }
}
