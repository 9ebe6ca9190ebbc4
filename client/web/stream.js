/**
 * The client's side of the stream: one websocket for all panes.
 *
 * Views are absolute and numbered; only the latest of each is sent, and never while the socket still has bytes to
 * send. The socket comes back by itself: with back-off, with the resume token, and with every view sent again; also
 * where it died in silence.
 *
 * @module stream
 */

import { FrameAssembler } from "./frame-assembler.js";
import { Pulse } from "./pulse.js";

const PROTOCOL_VERSION = 1;
const CLIENT_NAME = "voxelcast-web/0.1";
/** Input events closer together than this are merged: no display shows more. */
const SEND_INTERVAL_MS = 8;
/** How long a closed uplink is left before it is looked at again. */
const BUSY_POLL_MS = 10;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 8000;
/** Closed for what this client did, or because another one took the session over: trying again would not help. */
const FINAL_CODES = new Set([1002, 1003, 1007, 1008, 1009]);

/**
 * @typedef {"connecting" | "live" | "waiting" | "draining" | "locked" | "ended"} Status
 *   waiting: for the next try; locked: until a token is given; ended: by the server, for good.
 */
/**
 * @typedef {object} Handlers
 * @property {(status: Status) => void} status
 * @property {(welcome: any) => void} welcome After each connect.
 * @property {(list: any) => void} volumeList
 * @property {(opened: any) => void} volumeOpened
 * @property {(progress: any) => void} loadProgress
 * @property {(error: {reason: string, message: string, view_id: string, volume_id: string}) => void} error
 * @property {(header: any, payload: Uint8Array) => void} frame Whole, of this epoch.
 * @property {(sharing: Sharing | null) => void} [sharing] Who drives has changed; null: it was ended.
 * @property {() => void} [sharingLost] The server that came back knows of no sharing.
 * @property {(set: {view_id: string, revision: number, view: any}) => void} [viewSet] By the driver of what is watched.
 * @property {(viewId: string) => void} [viewClosed] By the driver.
 */
/** @typedef {{share_id: string, driving: boolean, driven: boolean, participants: number}} Sharing */

/** A session that outlives its sockets. */
export class StreamClient {
  /**
   * @param {string} url
   * @param {Handlers} handlers
   * @param {{WebSocket: any, setTimeout: any, clearTimeout: any, now: () => number, wallClock: () => number,
   *   random: () => number}} [platform] The browser's own, if absent.
   */
  constructor(url, handlers, platform) {
    this.url = url;
    this.handlers = handlers;
    this.platform = platform ?? {
      WebSocket: globalThis.WebSocket,
      setTimeout: globalThis.setTimeout.bind(globalThis),
      clearTimeout: globalThis.clearTimeout.bind(globalThis),
      now: () => performance.now(),
      wallClock: () => Date.now(),
      random: Math.random,
    };
    /** @type {Status} */
    this.status = "waiting";
    this.token = "";
    /** A token was given and is not the server's. */
    this.refused = false;
    this.resumeToken = "";
    this.epoch = 0;
    this.visible = true;
    this.failures = 0;
    /** The server waited for the first message in vain, as where the page slept: no reason to give up. */
    this.cameLate = false;
    /** @type {Map<string, {revision: number, sent: number, view: object}>} */
    this.views = new Map();
    /** Whose views are watched, if not one's own. */
    this.watched = "";
    /** @type {Sharing | null} */
    this.sharing = null;
    this.assembler = new FrameAssembler();
    this.pulse = new Pulse({ ask: () => this.send({ ping: {} }), lost: () => this.giveUp() }, this.platform);
    this.lastFlush = -Infinity;
    /** Messages and bytes since the page was opened. */
    this.traffic = { messagesSent: 0, viewsSent: 0, framesReceived: 0, bytesReceived: 0 };
    /** @type {any} */
    this.socket = null;
    /** @type {any} */
    this.flushTimer = null;
    /** @type {any} */
    this.retryTimer = null;
  }

  /** Connect now, if there is no socket. */
  connect() {
    if (this.socket) return;
    this.platform.clearTimeout(this.retryTimer);
    this.setStatus("connecting");
    const socket = new this.platform.WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.pulse.begin();
    socket.onopen = () =>
      this.send({
        hello: {
          protocol_version: PROTOCOL_VERSION,
          token: this.token,
          resume_token: this.resumeToken,
          client: CLIENT_NAME,
        },
      });
    socket.onmessage = (/** @type {MessageEvent} */ event) => {
      if (socket !== this.socket) return;
      this.pulse.heard();
      if (typeof event.data === "string") this.receive(JSON.parse(event.data));
      else this.receiveFrame(event.data);
    };
    socket.onclose = (/** @type {CloseEvent} */ event) => {
      if (socket === this.socket) this.closed(event);
    };
  }

  /** Give the token that the server asked for, and try again. @param {string} token */
  unlock(token) {
    this.token = token;
    this.connect();
  }

  /**
   * Set a view. The latest wins.
   *
   * @param {string} viewId
   * @param {object} view View of the wire.
   * @returns {number} Its revision.
   */
  setView(viewId, view) {
    const known = this.views.get(viewId) ?? { revision: 0, sent: 0, view };
    const next = { ...known, revision: known.revision + 1, view };
    this.views.set(viewId, next);
    this.scheduleFlush();
    return next.revision;
  }

  /**
   * Replace what a reconnect will send, without sending anything now: the picture already shows it.
   *
   * @param {string} viewId
   * @param {object} view View of the wire.
   */
  keepView(viewId, view) {
    const known = this.views.get(viewId);
    if (known) known.view = view;
  }

  /** @param {string} viewId */
  closeView(viewId) {
    const known = this.views.get(viewId);
    this.views.delete(viewId);
    if (known?.sent && this.status === "live") this.send({ close_view: { view_id: viewId } });
  }

  /** Whether another one sets the views. */
  get watching() {
    return this.sharing ? !this.sharing.driving : this.watched !== "";
  }

  /** Let others watch; `sharing` tells under which id. */
  share() {
    this.send({ share: {} });
  }

  /** Watch what others share, instead of views of one's own. @param {string} shareId */
  watch(shareId) {
    this.watched = shareId;
    this.views.clear();
    if (this.status === "live") this.send({ watch: { share_id: shareId } });
  }

  /** End what is shared, for all where one drives; else watch it no more. */
  stopSharing() {
    this.send({ stop_sharing: {} });
  }

  /** Take the wheel of what is watched. */
  drive() {
    this.send({ drive: {} });
  }

  /** The frame is on the screen, or dropped for a newer one. @param {any} header FrameHeader. */
  acknowledge(header) {
    if (this.status !== "live" || header.epoch !== this.epoch) return;
    this.send({ acknowledge: { view_id: header.view_id, sequence: header.sequence } });
  }

  /** @param {string} volumeId */
  openVolume(volumeId) {
    this.send({ open_volume: { volume_id: volumeId, in_part: true } });
  }

  listVolumes() {
    this.send({ list_volumes: {} });
  }

  /** A hidden page gets no frames; a shown one connects at once, or sees whether it still is. @param {boolean} visible */
  setVisible(visible) {
    this.visible = visible;
    if (this.status === "live") this.send({ set_visibility: { visible } });
    if (visible) this.wake();
  }

  /** The machine woke up, or its network is another: connect at once, or see soon whether there still is a connection. */
  wake() {
    if (this.status === "waiting") this.connect();
    else this.pulse.wake();
  }

  /** @param {object} message ClientMessage. */
  send(message) {
    if (this.socket?.readyState !== 1) return;
    this.socket.send(JSON.stringify(message));
    this.traffic.messagesSent += 1;
  }

  /** @param {Status} status */
  setStatus(status) {
    this.status = status;
    this.handlers.status(status);
  }

  scheduleFlush() {
    if (this.flushTimer !== null) return;
    const wait = this.lastFlush + SEND_INTERVAL_MS - this.platform.now();
    if (wait <= 0) this.flush();
    else this.flushTimer = this.platform.setTimeout(() => this.flush(), wait);
  }

  flush() {
    this.platform.clearTimeout(this.flushTimer);
    this.flushTimer = null;
    if (this.status !== "live" || this.watching) return;
    if (this.socket.bufferedAmount > 0) {
      // What waits here can still be replaced by something newer; what waits in the socket can't.
      this.flushTimer = this.platform.setTimeout(() => this.flush(), BUSY_POLL_MS);
      return;
    }
    for (const [viewId, known] of this.views) {
      if (known.sent === known.revision) continue;
      known.sent = known.revision;
      this.send({ set_view: { view_id: viewId, revision: known.revision, view: known.view } });
      this.traffic.viewsSent += 1;
      this.pulse.waits();
    }
    this.lastFlush = this.platform.now();
  }

  /** @param {any} message ServerMessage. */
  receive(message) {
    if (message.welcome) this.welcomed(message.welcome);
    else if (message.volume_list) this.handlers.volumeList(message.volume_list);
    else if (message.volume_opened) this.handlers.volumeOpened(message.volume_opened);
    else if (message.load_progress) this.handlers.loadProgress(message.load_progress);
    else if (message.draining) this.setStatus("draining");
    else if (message.sharing) this.shared(message.sharing.share_id ? message.sharing : null);
    else if (message.view_set) this.watchedSet(message.view_set);
    else if (message.view_closed) {
      this.views.delete(message.view_closed.view_id);
      this.handlers.viewClosed?.(message.view_closed.view_id);
    }
    else if (message.error) {
      if (message.error.reason === "UNAUTHENTICATED") this.lock();
      else if (message.error.reason === "HELLO_TIMEOUT") this.cameLate = true;
      else this.handlers.error(message.error);
    }
  }

  /** @param {Sharing | null} sharing */
  shared(sharing) {
    const drove = !this.watching;
    this.sharing = sharing;
    this.watched = sharing?.share_id ?? "";
    // What was not sent while one drove is not sent any more.
    if (drove && this.watching) for (const known of this.views.values()) known.sent = known.revision;
    this.handlers.sharing?.(sharing);
  }

  /** @param {{view_id: string, revision: number, view: any}} set */
  watchedSet(set) {
    this.views.set(set.view_id, { revision: set.revision, sent: set.revision, view: set.view });
    this.handlers.viewSet?.(set);
  }

  /** @param {any} welcome */
  welcomed(welcome) {
    // A session that was taken up again takes part again by itself.
    if (welcome.epoch === 1 && this.sharing) {
      const wasWatching = this.watching;
      this.watched = wasWatching ? this.watched : "";
      this.sharing = null;
      this.handlers.sharingLost?.();
    }
    this.epoch = welcome.epoch;
    this.resumeToken = welcome.resume_token;
    this.failures = 0;
    this.assembler.clear();
    this.setStatus("live");
    this.handlers.welcome(welcome);
    // A server that was restarted knows none of the views; one that resumed them ignores the same revision.
    for (const known of this.views.values()) known.sent = 0;
    if (this.watching && welcome.epoch === 1) this.watch(this.watched);
    if (!this.visible) this.setVisible(false);
    this.flush();
  }

  /** @param {ArrayBuffer} message */
  receiveFrame(message) {
    this.traffic.bytesReceived += message.byteLength;
    let frame;
    try {
      frame = this.assembler.push(message);
    } catch (error) {
      this.handlers.error({
        reason: "MALFORMED_FRAME",
        message: error instanceof Error ? error.message : String(error),
        view_id: "",
        volume_id: "",
      });
      return;
    }
    if (!frame || frame.header.epoch !== this.epoch) return;
    this.traffic.framesReceived += 1;
    this.handlers.frame(frame.header, frame.payload);
  }

  /** The socket is dead, though nobody said so. */
  giveUp() {
    const { socket } = this;
    this.closed({ code: 1006 });
    socket.close();
  }

  lock() {
    const { socket } = this;
    this.socket = null;
    this.pulse.end();
    this.refused = this.token !== "";
    this.token = "";
    socket?.close();
    this.setStatus("locked");
  }

  /** @param {{code: number}} event */
  closed(event) {
    this.socket = null;
    this.pulse.end();
    const isFinal = FINAL_CODES.has(event.code) && !this.cameLate;
    this.cameLate = false;
    if (isFinal) {
      this.setStatus("ended");
      return;
    }
    const wait = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures) * (0.75 + 0.5 * this.platform.random());
    this.failures += 1;
    this.setStatus("waiting");
    if (this.visible || this.failures === 1) this.retryTimer = this.platform.setTimeout(() => this.connect(), wait);
  }
}
