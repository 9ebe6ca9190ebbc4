/**
 * The page: puts the stream, the panes and the controls together.
 *
 * @module app
 */

import { PaneHead, Toolbar } from "./controls.js";
import { Decoder } from "./decoder.js";
import { VolumeGeometry } from "./geometry.js";
import { Picker, volumeFacts, volumeTitle } from "./picker.js";
import { StreamClient } from "./stream.js";
import { Workspace } from "./workspace.js";

const TOKEN_KEY = "voxelcast-token";
/** One pane at a time: as in style.css. */
const NARROW = matchMedia("(max-width: 700px), (max-height: 500px)");
/** How often the list is asked for while nothing is open: roots are scanned in the background. */
const LIST_MS = 2000;
const NOTICE_MS = 8000;
const DAMAGED_RETRY_MS = 1000;

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** The whole page. */
class App {
  constructor() {
    this.decoder = new Decoder();
    /** VolumeSummary of each. @type {any[]} */
    this.volumes = [];
    /** @type {string[]} */
    this.presets = [];
    this.volumeId = "";
    this.noticeTimer = 0;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.stream = new StreamClient(`${scheme}//${location.host}/stream`, {
      status: (status) => this.showStatus(status),
      welcome: (welcome) => this.welcomed(welcome),
      volumeList: (list) => this.listed(list.volumes),
      volumeOpened: (opened) => this.opened(opened.volume),
      loadProgress: (progress) => {
        if (progress.volume_id === this.volumeId && !this.isOpen) this.picker.showProgress(progress);
      },
      error: (error) => this.failed(error),
      frame: (header, payload) => this.workspace.pane(header.view_id)?.receive(header, payload),
    });
    this.workspace = new Workspace(
      byId("grid"),
      {
        send: (pane, view) => this.stream.setView(pane.name, view),
        keep: (pane, view) => this.stream.keepView(pane.name, view),
        acknowledge: (header) => this.stream.acknowledge(header),
        decode: (header, payload) => this.decoder.decode(header, payload),
        failed: (pane, error) => {
          this.notice(`A damaged frame was dropped: ${error.message}`);
          // Not at once: what damages frames would be asked without end.
          setTimeout(() => pane.settled || pane.send(null), DAMAGED_RETRY_MS);
        },
      },
      { changed: () => this.refresh() },
    );
    this.picker = new Picker((volumeId) => this.open(volumeId));
    this.heads = this.workspace.panes.map((pane) => new PaneHead(pane, this.workspace));
    this.toolbar = new Toolbar(this.workspace);
    this.listen();
    if (NARROW.matches) this.workspace.maximise("axial");
    this.stream.visible = document.visibilityState === "visible";
    this.stream.token = sessionStorage.getItem(TOKEN_KEY) ?? "";
    this.stream.connect();
  }

  get isOpen() {
    return this.workspace.description?.summary.volume_id === this.volumeId;
  }

  listen() {
    byId("series").onclick = () => {
      this.stream.listVolumes();
      this.picker.open();
    };
    for (const button of document.querySelectorAll("[data-open]")) {
      button.addEventListener("click", () => {
        this.picker.dialog.close();
        /** @type {HTMLDialogElement} */ (byId("help")).showModal();
      });
    }
    byId("token-form").onsubmit = () => {
      const field = /** @type {HTMLInputElement} */ (byId("token"));
      sessionStorage.setItem(TOKEN_KEY, field.value);
      this.stream.unlock(field.value);
      field.value = "";
    };
    // Without a token there is nothing behind it.
    byId("locked").oncancel = (event) => event.preventDefault();
    for (const dialog of document.querySelectorAll("dialog")) {
      // A click beside a dialog lands on the dialog itself.
      if (dialog.id !== "locked") dialog.onclick = (event) => event.target === dialog && dialog.close();
    }
    document.addEventListener("visibilitychange", () => this.stream.setVisible(document.visibilityState === "visible"));
    addEventListener("online", () => this.stream.setVisible(this.stream.visible));
    setInterval(() => {
      if (!this.volumeId && this.stream.status === "live" && this.stream.visible) this.stream.listVolumes();
    }, LIST_MS);
    addEventListener("keydown", (event) => this.press(event));
    NARROW.addEventListener("change", () => this.workspace.maximise(NARROW.matches ? this.workspace.active.name : null));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.closest("select, input")) return;
    // A focused button has its own use for the space bar.
    if (event.key === " " && target.closest("button")) return;
    if (event.key === "Escape" && !NARROW.matches) this.workspace.maximise(null);
    if (this.toolbar.press(event.key) || this.workspace.press(event.key)) event.preventDefault();
  }

  /** @param {any} welcome */
  welcomed(welcome) {
    this.presets = welcome.presets;
    const { max_viewport_px: limit } = welcome.limits ?? {};
    for (const pane of this.workspace.panes) {
      pane.begin(welcome.epoch);
      if (limit) pane.maxSide = Math.min(pane.maxSide, limit);
    }
    const locked = /** @type {HTMLDialogElement} */ (byId("locked"));
    if (locked.open) locked.close();
    this.listed(welcome.volumes);
    if (this.volumeId && !this.isOpen) this.stream.openVolume(this.volumeId);
    else if (!this.volumeId) this.picker.open();
  }

  /** @param {any[]} volumes VolumeSummary. */
  listed(volumes) {
    const isFirst = this.volumes.length === 0;
    this.volumes = volumes;
    this.picker.show(volumes, this.volumeId);
    const first = isFirst && !this.volumeId ? this.plainlyMeant() : undefined;
    if (!first) return;
    this.picker.dialog.close();
    this.open(first.volume_id);
  }

  /** The volume that the address names, else the one the server opens first, else the only one there is. */
  plainlyMeant() {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("volume");
    return (
      this.volumes.find((summary) => summary.volume_id === wanted) ??
      this.volumes.find((summary) => summary.opens_first) ??
      (this.volumes.length === 1 ? this.volumes[0] : undefined)
    );
  }

  /** @param {string} volumeId */
  open(volumeId) {
    if (volumeId === this.volumeId && this.isOpen) return;
    this.volumeId = volumeId;
    history.replaceState(null, "", `#volume=${encodeURIComponent(volumeId)}`);
    this.picker.showProgress({ stage: "", done: 0, total: 0 });
    this.stream.openVolume(volumeId);
  }

  /** @param {any} description VolumeDescription. */
  opened(description) {
    const { summary } = description;
    // An answer to an earlier choice; or again after a reconnect.
    if (summary.volume_id !== this.volumeId || this.isOpen) return;
    this.picker.showProgress(null);
    byId("series-name").textContent = volumeTitle(summary);
    byId("series-facts").textContent = `${summary.modality} · ${volumeFacts(summary)}`;
    document.title = `${summary.modality} ${volumeTitle(summary)} · Voxelcast`;
    const warnings = byId("warnings");
    warnings.hidden = description.warnings.length === 0;
    warnings.title = description.warnings.join("\n");
    warnings.onclick = () => this.notice(description.warnings.join(" "));
    this.workspace.open(description, new VolumeGeometry(description.geometry));
    for (const head of this.heads) head.setPresets(this.presets);
    this.toolbar.open();
    this.refresh();
  }

  /** @param {{reason: string, message: string, volume_id: string}} error */
  failed(error) {
    this.notice(error.message || error.reason);
    if (error.volume_id && error.volume_id === this.volumeId && !this.isOpen) {
      this.volumeId = "";
      this.picker.showProgress(null);
      this.picker.open();
    }
  }

  /** @param {string} text */
  notice(text) {
    const box = byId("notice");
    box.textContent = text;
    box.hidden = false;
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => (box.hidden = true), NOTICE_MS);
  }

  /** @param {import("./stream.js").Status} status */
  showStatus(status) {
    const words = {
      connecting: "Connecting",
      live: "Live",
      waiting: "Reconnecting",
      draining: "Server stops",
      locked: "Locked",
      ended: "Ended: reload",
    };
    const box = byId("status");
    box.textContent = words[status];
    box.dataset.status = status;
    if (status === "locked") {
      sessionStorage.removeItem(TOKEN_KEY);
      const dialog = /** @type {HTMLDialogElement} */ (byId("locked"));
      if (!dialog.open) dialog.showModal();
    }
  }

  refresh() {
    // Called while the workspace is being made, too.
    if (!this.toolbar) return;
    this.toolbar.refresh();
    for (const head of this.heads) head.refresh();
  }

  /** Read-only, for tests and the curious. */
  inspect() {
    const { status, traffic, epoch } = this.stream;
    const panes = Object.fromEntries(this.workspace.panes.map((pane) => [pane.name, pane.inspect()]));
    return {
      status,
      epoch,
      traffic: { ...traffic },
      crosshair: [...this.workspace.crosshair],
      maximised: this.workspace.maximised,
      panes,
    };
  }
}

const app = new App();
Object.defineProperty(window, "voxelcast", { value: Object.freeze({ inspect: () => app.inspect() }) });
