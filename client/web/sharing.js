/**
 * The button that shares what is seen, and the link that it gives.
 *
 * @module sharing
 */

import { byId } from "./elements.js";

/** Shares, or takes the wheel; says how many watch. */
export class ShareButton {
  /** @param {() => void} press */
  constructor(press) {
    this.button = byId("share");
    this.button.onclick = press;
  }

  /**
   * @param {import("./stream.js").Sharing | null} sharing
   * @param {boolean} watching Another one sets what is seen.
   */
  show(sharing, watching) {
    let text = "Share";
    let title = "Let others watch what you do, by a link";
    if (watching) {
      text = sharing?.driven === false ? "Nobody drives: take the wheel" : "Watching: take the wheel";
      title = "Another one sets what is seen here; from then on you do";
    } else if (sharing) {
      text = `You drive · ${sharing.participants - 1} watching`;
      title = "Show the link once more";
    }
    this.button.textContent = text;
    this.button.title = title;
  }
}

/** Copy the link that lets others watch; returns what to tell. @param {string} link */
export async function offered(link) {
  try {
    await navigator.clipboard.writeText(link);
    return "The link is copied: who opens it sees what you do.";
  } catch {
    // No clipboard over plain HTTP.
    return `Who opens this link sees what you do: ${link}`;
  }
}
