/**
 * Whether the server is still there. A link that died in silence says nothing, and a page can't see a websocket's own
 * pings: it asks for a sign of life of its own.
 *
 * @module pulse
 */

/** How often the clock is looked at. */
const LOOK_MS = 1000;
/** Silence after which an idle page asks. */
const QUIET_MS = 25000;
/** Silence after which a page asks that waits for an answer. */
const WAITING_MS = 4000;
/**
 * How long the answer may take, doubled each time that it took longer: proxies that collect whole seconds of bytes take
 * as long as that, and behind a slow link a long list or a large picture may be on its way, which does not show here.
 */
const FIRST_ANSWER_MS = 8000;
const LAST_ANSWER_MS = 64000;
/** A look that comes so late tells that the machine, or the page, was asleep. */
const ASLEEP_MS = 5000;

/** Watches over one socket at a time. */
export class Pulse {
  /**
   * @param {{ask: () => void, lost: () => void}} handlers Send a ping; give the socket up.
   * @param {{setTimeout: any, clearTimeout: any, wallClock: () => number}} platform The clock must go on while the
   *   machine sleeps, which `performance.now` does not everywhere.
   */
  constructor(handlers, platform) {
    this.handlers = handlers;
    this.platform = platform;
    /** @type {any} */
    this.timer = null;
    this.lookedAt = 0;
    this.heardAt = 0;
    /** @type {number | null} */
    this.askedAt = null;
    this.isWaiting = false;
    this.patience = FIRST_ANSWER_MS;
    this.hasAsked = false;
  }

  /** A socket is being opened: it has as long for its first word as for an answer. */
  begin() {
    this.lookedAt = this.heardAt = this.askedAt = this.platform.wallClock();
    this.isWaiting = this.hasAsked = false;
    this.schedule();
  }

  /** There is no socket any more. */
  end() {
    this.platform.clearTimeout(this.timer);
    this.timer = null;
  }

  /** The server said something: anything. */
  heard() {
    this.heardAt = this.platform.wallClock();
    if (this.hasAsked) this.patience = FIRST_ANSWER_MS;
    this.askedAt = null;
    this.isWaiting = this.hasAsked = false;
  }

  /** Something was sent that the server will answer. */
  waits() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    // Silence before it means nothing.
    this.heardAt = this.platform.wallClock();
  }

  /** Ask now: the page was shown again, or a network came back. */
  check() {
    if (this.timer === null || this.askedAt !== null) return;
    this.askedAt = this.platform.wallClock();
    this.hasAsked = true;
    this.handlers.ask();
  }

  schedule() {
    this.platform.clearTimeout(this.timer);
    this.timer = this.platform.setTimeout(() => this.look(), LOOK_MS);
  }

  look() {
    const now = this.platform.wallClock();
    const slept = Math.abs(now - this.lookedAt) > ASLEEP_MS;
    this.lookedAt = now;
    this.schedule();
    // What was asked before a sleep has not had its time.
    if (slept) this.askedAt = null;
    if (this.askedAt !== null) {
      if (now - this.askedAt < this.patience) return;
      this.patience = Math.min(2 * this.patience, LAST_ANSWER_MS);
      this.handlers.lost();
    } else if (slept || now - this.heardAt >= (this.isWaiting ? WAITING_MS : QUIET_MS)) this.check();
  }
}
