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
/**
 * How long it may take after a sleep, or where the network is another: such a socket is dead more often than slow, and
 * another one costs a round trip. A link whose answers are known to be slow gets a few times as long as they took.
 */
const WAKE_ANSWER_MS = 1500;
const WAKE_ANSWERS = 4;
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
    /** How long the answer that is waited for may take. */
    this.allowed = FIRST_ANSWER_MS;
    /** How long the last answer took. */
    this.answered = 0;
    this.hasAsked = false;
  }

  /** A socket is being opened: it has as long for its first word as for an answer. */
  begin() {
    this.lookedAt = this.heardAt = this.askedAt = this.platform.wallClock();
    this.allowed = this.patience;
    this.isWaiting = this.hasAsked = false;
    this.schedule(LOOK_MS);
  }

  /** There is no socket any more. */
  end() {
    this.platform.clearTimeout(this.timer);
    this.timer = null;
  }

  /** The server said something: anything. */
  heard() {
    this.heardAt = this.platform.wallClock();
    if (this.askedAt !== null) this.answered = this.heardAt - this.askedAt;
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

  /** Ask now, and expect the answer soon: the machine woke up, the page was shown again, or a network came back. */
  wake() {
    if (this.timer === null) return;
    // What was asked before a sleep has not had its time; what is being asked now has no more than this.
    this.askedAt = null;
    this.ask(Math.min(this.patience, Math.max(WAKE_ANSWER_MS, WAKE_ANSWERS * this.answered)));
    this.schedule(this.allowed);
  }

  /** @param {number} allowed ms. */
  ask(allowed) {
    this.askedAt = this.platform.wallClock();
    this.allowed = allowed;
    this.hasAsked = true;
    this.handlers.ask();
  }

  /** @param {number} wait ms; never more than between two looks. */
  schedule(wait) {
    this.platform.clearTimeout(this.timer);
    this.timer = this.platform.setTimeout(() => this.look(), Math.min(wait, LOOK_MS));
  }

  look() {
    const now = this.platform.wallClock();
    const slept = Math.abs(now - this.lookedAt) > ASLEEP_MS;
    this.lookedAt = now;
    if (slept) {
      this.wake();
      return;
    }
    const due = this.askedAt === null ? Infinity : this.askedAt + this.allowed - now;
    this.schedule(due > 0 ? due : LOOK_MS);
    if (due <= 0) {
      // That a hurried answer did not come tells nothing of the link.
      if (this.allowed >= this.patience) this.patience = Math.min(2 * this.patience, LAST_ANSWER_MS);
      this.handlers.lost();
    } else if (this.askedAt === null && now - this.heardAt >= (this.isWaiting ? WAITING_MS : QUIET_MS)) {
      this.ask(this.patience);
    }
  }
}
