/**
 * How dialogs are opened and closed, whatever is in them.
 *
 * @module dialogs
 */

import { byId } from "./elements.js";

/** @param {HTMLDialogElement} help Opened from wherever `data-open` says so, in place of another. */
export function listenToDialogs(help) {
  const all = document.querySelectorAll("dialog");
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      for (const dialog of all) dialog.close();
      help.showModal();
    });
  }
  for (const dialog of all) {
    dialog.querySelector(".close")?.addEventListener("click", () => dialog.close());
    // A click beside a dialog lands on the dialog itself. Behind the one for the token there is nothing.
    if (dialog.id !== "locked") dialog.onclick = (event) => event.target === dialog && dialog.close();
  }
  byId("locked").oncancel = (event) => event.preventDefault();
}
