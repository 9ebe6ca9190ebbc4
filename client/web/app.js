/**
 * The page: puts the stream, the panes and the controls together.
 *
 * @module app
 */

import { PaneHead, Toolbar } from "./controls.js";
import { Decoder } from "./decoder.js";
import { listenToDialogs } from "./dialogs.js";
import { byId } from "./elements.js";
import { FirstPicture } from "./first-picture.js";
import { VolumeGeometry } from "./geometry.js";
import { Input } from "./input.js";
import { PhaseBar, holds } from "./phases.js";
import { Picker, progressText, volumeFacts, volumeTitle } from "./picker.js";
import { SharePanel, watchFragment } from "./sharing.js";
import { StatusBar, sentences } from "./status-bar.js";
import { StreamClient } from "./stream.js";
import { ToolMenu } from "./tools.js";
import { ALONE, AWAITED, ENDED, GONE, NO_SHARE, UNKNOWN, UNSHARED } from "./words.js";
import { Workspace } from "./workspace.js";

const TOKEN_KEY = "voxelcast-token";
/** One pane at a time: as in narrow.css. */
const NARROW = matchMedia("(max-width: 700px), (max-height: 500px)");
/** How often the list is asked for while nothing is open: roots are scanned in the background. */
const LIST_MS = 1000;
/** Ids are no words for a reader. */
const ID = /['"]?\b[0-9a-f]{16,}\b['"]?/g;
const DAMAGED_RETRY_MS = 1000;

/** The whole page. */
class App {
  constructor() {
    this.decoder = new Decoder();
    /** VolumeSummary of each. @type {any[]} */
    this.volumes = [];
    /** @type {string[]} */
    this.presets = [];
    this.volumeId = "";
    /** What the address names. */
    this.wanted = new URLSearchParams(location.hash.slice(1)).get("volume") ?? "";
    /** What the driver has set of a volume that is not open here yet, by pane. @type {Map<string, any>} */
    this.awaited = new Map();
    /** The server has not read all of its folders. */
    this.scanning = false;
    /** The server does not know the volume: not yet, or not any more. */
    this.missing = false;
    /** How far the server is with what it has forgotten. */
    this.loading = "";
    this.statusBar = new StatusBar();
    this.sharePanel = new SharePanel({
      share: () => this.stream.share(),
      drive: () => this.stream.drive(),
      stop: () => this.stream.stopSharing(),
    });
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.stream = new StreamClient(`${scheme}//${location.host}/stream`, {
      status: (status) => this.showStatus(status),
      welcome: (welcome) => this.welcomed(welcome),
      volumeList: (list) => this.listed(list),
      volumeOpened: (opened) => this.opened(opened.volume),
      loadProgress: (progress) => {
        if (progress.volume_id !== this.volumeId) return;
        if (!this.isOpen) this.picker.showProgress(progress);
        this.loading = progressText(progress);
        this.showStale();
      },
      error: (error) => this.failed(error),
      frame: (header, payload) => this.workspace.pane(header.view_id)?.receive(header, payload),
      sharing: (sharing) => this.shared(sharing),
      sharingLost: () => {
        this.shared(null);
        if (!this.stream.watching) this.statusBar.notice(UNSHARED);
      },
      viewSet: (set) => this.watched(set),
      viewClosed: (viewId) => this.awaited.delete(viewId),
    });
    this.workspace = new Workspace(
      byId("grid"),
      {
        send: (pane, view) => this.stream.setView(pane.name, view),
        keep: (pane, view) => {
          this.stream.keepView(pane.name, view);
          // Who watches wants to see the window change, too.
          if (this.stream.sharing) pane.send(null);
        },
        close: (pane) => this.stream.closeView(pane.name),
        acknowledge: (header) => this.stream.acknowledge(header),
        decode: (header, payload) => this.decoder.decode(header, payload),
        failed: (pane, error) => {
          this.statusBar.notice(`A damaged frame was dropped: ${error.message}`);
          // Not at once: what damages frames would be asked without end.
          setTimeout(() => pane.settled || pane.send(null), DAMAGED_RETRY_MS);
        },
      },
      { changed: () => this.refresh(), painted: () => this.showStale() },
    );
    this.input = new Input(this.workspace);
    this.picker = new Picker((volumeId) => this.open(volumeId));
    this.heads = this.workspace.panes.map((pane) => new PaneHead(pane, this.workspace));
    this.toolbar = new Toolbar(this.workspace);
    this.tools = new ToolMenu(this.workspace);
    this.phases = new PhaseBar(this.workspace);
    this.firstPicture = new FirstPicture(this.workspace.panes, () => this.stream.token);
    this.listen();
    if (NARROW.matches) this.workspace.maximise("axial");
    this.stream.visible = document.visibilityState === "visible";
    this.stream.watched = new URLSearchParams(location.hash.slice(1)).get("watch") ?? "";
    this.stream.token = sessionStorage.getItem(TOKEN_KEY) ?? "";
    this.stream.connect();
  }

  get help() {
    return /** @type {HTMLDialogElement} */ (byId("help"));
  }

  get isOpen() {
    return this.workspace.description?.summary.volume_id === this.volumeId;
  }

  listen() {
    for (const id of ["series", "choose"]) {
      byId(id).onclick = () => {
        this.stream.listVolumes();
        this.picker.open();
      };
    }
    listenToDialogs(this.help);
    byId("token-form").onsubmit = () => {
      const field = /** @type {HTMLInputElement} */ (byId("token"));
      sessionStorage.setItem(TOKEN_KEY, field.value);
      this.stream.unlock(field.value);
      field.value = "";
    };
    document.addEventListener("visibilitychange", () => this.stream.setVisible(document.visibilityState === "visible"));
    addEventListener("online", () => this.stream.wake());
    // From a browser's memory of pages, or thawed: their timers have not run, and their sockets may be gone.
    addEventListener("pageshow", (event) => event.persisted && this.stream.wake());
    document.addEventListener("resume", () => this.stream.wake());
    setInterval(() => {
      const waits = (!this.volumeId && !this.stream.watching) || this.missing;
      if (waits && this.stream.status === "live" && this.stream.visible) this.stream.listVolumes();
      if (this.missing) this.showStale();
    }, LIST_MS);
    addEventListener("keydown", (event) => this.press(event));
    NARROW.addEventListener("change", () => this.workspace.maximise(NARROW.matches ? this.workspace.active.name : null));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?" && this.help.open) this.help.close();
    else if (event.key === "?" && !document.querySelector("dialog[open]")) this.help.showModal();
    if (document.querySelector("dialog[open]") || this.stream.watching) return;
    if (target.closest("select, input")) return;
    // A focused button has its own use for the space bar.
    if ((event.key === " " || event.key === "Enter") && target.closest("button")) return;
    if (event.key === "Escape" && !NARROW.matches) this.workspace.maximise(null);
    const parts = [this.toolbar, this.tools, this.phases, this.input];
    if (parts.some((part) => part.press(event.key, event.shiftKey))) event.preventDefault();
  }

  /** @param {any} welcome */
  welcomed(welcome) {
    this.presets = welcome.presets;
    this.missing = false;
    this.loading = "";
    const { max_viewport_px: limit } = welcome.limits ?? {};
    for (const pane of this.workspace.panes) {
      pane.begin(welcome.epoch);
      // A session that was taken up again has nothing to send for what it knows to be on the screen.
      if (welcome.epoch > 1 && pane.settled) pane.setLive(true);
      if (limit) pane.maxSide = Math.min(pane.maxSide, limit);
    }
    const locked = /** @type {HTMLDialogElement} */ (byId("locked"));
    if (locked.open) locked.close();
    this.listed(welcome);
    if (this.volumeId && !this.isOpen) this.stream.openVolume(this.volumeId);
    else if (!this.volumeId && !this.stream.watching) this.picker.open();
    this.showSharing();
    this.showStale();
  }

  /** Who drives is another. @param {import("./stream.js").Sharing | null} sharing null: nobody. */
  shared(sharing) {
    const wasWatching = this.workspace.panes.some((pane) => pane.mirrored);
    if (!this.stream.watching) for (const pane of this.workspace.panes) pane.takeOver();
    if (!sharing && !this.stream.watching) this.statusBar.notice(wasWatching ? ALONE : ENDED);
    const watched = this.stream.watching && sharing ? watchFragment(sharing.share_id) : "";
    if (watched || this.volumeId) history.replaceState(null, "", watched || `#volume=${encodeURIComponent(this.volumeId)}`);
    this.showSharing();
    this.refresh();
  }

  /** Whose hand is on the wheel. */
  showSharing() {
    const { sharing, watching } = this.stream;
    for (const id of ["grid", "series", "tools"]) byId(id).inert = watching;
    document.body.classList.toggle("watching", watching);
    this.sharePanel.show(sharing, watching);
  }

  /** @param {{view_id: string, revision: number, view: any}} set By the driver. */
  watched(set) {
    const pane = this.workspace.pane(set.view_id);
    if (!pane) return;
    const volumeId = set.view.layers[0].volume_id;
    pane.mirrored = { width: set.view.viewport.width_px, height: set.view.viewport.height_px };
    if (!this.isOpen || !holds(this.workspace.description.summary, volumeId)) {
      this.awaited.set(set.view_id, set);
      if (volumeId !== this.volumeId) this.open(volumeId);
      return;
    }
    pane.mirror(set.revision, set.view);
    if (!pane.isPlane || !pane.state) return;
    this.workspace.crosshair = this.workspace.crosshairOn(pane.state);
    this.workspace.annotations.showAll();
  }

  /** @param {{volumes: any[], scanning: boolean}} list Welcome or VolumeList; VolumeSummary of each. */
  listed({ volumes, scanning }) {
    this.scanning = scanning;
    const isFirst = this.volumes.length === 0;
    this.volumes = volumes;
    this.picker.show(volumes, this.volumeId, scanning);
    if (this.volumeId) {
      if (this.missing) this.askAgain();
      return;
    }
    if (this.stream.watching) return;
    const named = volumes.find((summary) => holds(summary, this.wanted));
    if (!named && this.wanted) {
      // Another choice would not be what the address says; and the list grows while the server reads its folders.
      this.picker.say(scanning ? AWAITED : UNKNOWN);
      return;
    }
    const first = named ?? (isFirst ? this.plainlyMeant() : undefined);
    if (!first) return;
    this.picker.dialog.close();
    this.open(named ? this.wanted : first.volume_id);
  }

  /** The volume that the server opens first, else the only one there is. */
  plainlyMeant() {
    return this.volumes.find((summary) => summary.opens_first) ?? (this.volumes.length === 1 ? this.volumes[0] : undefined);
  }

  /** Ask for the volume that was missing, once it is in the list. */
  askAgain() {
    if (!this.volumes.some((summary) => holds(summary, this.volumeId))) {
      if (!this.isOpen && !this.scanning) this.giveUp(GONE);
      return;
    }
    this.missing = false;
    if (!this.isOpen) this.stream.openVolume(this.volumeId);
    // A view that failed is not tried again under its old revision.
    else for (const pane of this.workspace.panes) pane.send(null);
    this.showStale();
  }

  /** @param {string} volumeId */
  open(volumeId) {
    if (volumeId === this.volumeId && this.isOpen) return;
    this.volumeId = volumeId;
    byId("nothing").hidden = true;
    this.wanted = "";
    this.missing = false;
    this.picker.say("");
    this.picker.show(this.volumes, volumeId, this.scanning);
    if (!this.stream.watching) history.replaceState(null, "", `#volume=${encodeURIComponent(volumeId)}`);
    this.picker.showProgress({ stage: "", done: 0, total: 0 });
    this.stream.openVolume(volumeId);
  }

  /** @param {any} description VolumeDescription. */
  opened(description) {
    const { summary } = description;
    if (summary.volume_id !== this.volumeId) return; // an answer to an earlier choice
    if (this.isOpen) {
      // Again after a reconnect, or since it was described in part before and is whole now.
      if (this.workspace.description?.summary.volume_id === summary.volume_id) this.workspace.describe(description);
      return;
    }
    this.phases.stop();
    this.picker.showProgress(null);
    byId("series-name").textContent = volumeTitle(summary);
    byId("series-facts").textContent = `${summary.modality} · ${volumeFacts(summary, description.pixel_scale !== "PIXEL_SCALE_UNKNOWN")}`;
    document.title = `${summary.modality} ${volumeTitle(summary)} · Voxelcast`;
    const warnings = byId("warnings");
    warnings.hidden = description.warnings.length === 0;
    const words = sentences(description.warnings);
    warnings.title = words;
    warnings.onclick = () => this.statusBar.keep(words);
    this.workspace.open(description, new VolumeGeometry(description.geometry));
    for (const set of this.awaited.values()) this.watched(set);
    this.awaited.clear();
    for (const head of this.heads) head.setPresets(this.presets);
    this.toolbar.open();
    this.refresh();
  }

  /** @param {{reason: string, message: string, volume_id: string}} error */
  failed(error) {
    if (this.stream.watching && !this.stream.sharing && error.reason === "INVALID_ARGUMENT") {
      // The link leads nowhere (any more).
      this.stream.watched = "";
      for (const pane of this.workspace.panes) pane.takeOver();
      this.showSharing();
      if (this.volumeId) this.statusBar.notice(NO_SHARE);
      else this.offer(NO_SHARE);
      return;
    }
    // Set in the moment in which somebody else took the wheel.
    if (this.stream.watching && error.reason === "INVALID_ARGUMENT") return;
    const isLost = error.reason === "VOLUME_NOT_FOUND";
    const opening = error.volume_id === this.volumeId && !this.isOpen;
    if (isLost && this.volumeId && (this.isOpen || (opening && this.scanning))) {
      this.missing = true;
      for (const pane of this.workspace.panes) pane.setLive(false);
      this.showStale();
      return;
    }
    const text = isLost ? GONE : (error.message || error.reason).replace(ID, "this series");
    if (opening && error.volume_id) this.giveUp(text);
    else this.statusBar.notice(text);
  }

  /** Let another volume be chosen. @param {string} why */
  giveUp(why) {
    this.volumeId = "";
    byId("nothing").hidden = this.workspace.description !== null;
    this.missing = false;
    this.picker.showProgress(null);
    this.offer(why);
    this.showStale();
  }

  /** Let a volume be chosen. @param {string} why */
  offer(why) {
    this.picker.say(why);
    this.picker.open();
  }

  /** Whether what is on the screen is the server's word, and why not. */
  showStale() {
    const { panes } = this.workspace;
    const isStale = panes.some((pane) => !pane.live && pane.painted && pane.isShown);
    this.statusBar.show(this.stream.status, { isStale, missing: this.missing, scanning: this.scanning, loading: this.loading });
  }

  /** @param {import("./stream.js").Status} status */
  showStatus(status) {
    if (status !== "live" && status !== "draining") for (const pane of this.workspace.panes) pane.setLive(false);
    this.showStale();
    if (status === "locked") {
      sessionStorage.removeItem(TOKEN_KEY);
      byId("token-wrong").hidden = !this.stream.refused;
      const dialog = /** @type {HTMLDialogElement} */ (byId("locked"));
      if (!dialog.open) dialog.showModal();
    }
  }

  refresh() {
    // Called while the workspace is being made, too.
    if (!this.toolbar) return;
    this.toolbar.refresh();
    this.tools?.refresh();
    this.phases?.refresh();
    for (const head of this.heads) head.refresh();
  }

  /** Read-only, for tests and the curious. */
  inspect() {
    const { status, traffic, epoch } = this.stream;
    const panes = Object.fromEntries(this.workspace.panes.map((pane) => [pane.name, pane.inspect()]));
    return {
      status,
      epoch,
      watching: this.stream.watching,
      sharing: this.stream.sharing,
      traffic: { ...traffic },
      crosshair: [...this.workspace.crosshair],
      maximised: this.workspace.maximised,
      tool: this.workspace.tool,
      measured: structuredClone(this.workspace.measurements.lines),
      panes,
    };
  }
}

const app = new App();
Object.defineProperty(window, "voxelcast", { value: Object.freeze({ inspect: () => app.inspect() }) });
