/**
 * Pointer, touch and wheel events to gestures with a meaning.
 *
 * Mouse and pen: left drag is primary, middle pans, right zooms; with Shift the left pans, with Ctrl it zooms, with
 * Alt it is secondary. One finger is primary, two pan and pinch, three scroll. A press that does not move is a tap.
 *
 * @module gestures
 */

/**
 * @typedef {object} GestureHandlers Positions and distances in CSS pixels relative to the element.
 * @property {(at: Point) => boolean} grab A primary drag begins: true to have it as `drag("grab")`.
 * @property {(kind: "primary" | "secondary" | "pan" | "zoom" | "grab", dx: number, dy: number, at: Point) => void} drag
 * @property {(factor: number, at: Point) => void} pinch
 * @property {(ticks: number, at: Point) => void} wheel Positive downwards.
 * @property {(at: Point) => void} tap
 * @property {() => void} doubleTap
 * @property {(at: Point | null) => void} hover Null when the pointer has left.
 * @property {() => void} end All fingers and buttons are up.
 */
/** @typedef {{x: number, y: number}} Point */

/** A press that moves less is a tap. */
const TAP_SLOP_PX = 4;
const TOUCH_SLOP_PX = 10;
const DOUBLE_TAP_MS = 320;
const DOUBLE_TAP_PX = 24;
/** Wheels report 100 to 120 px a notch (Firefox: 3 lines); smaller steps come from touchpads and add up. */
const NOTCH_PX = 60;
const TOUCHPAD_TICK_PX = 30;
const LINE_PX = 40;
const PAGE_PX = 800;
/** Three fingers scroll one slice for so many pixels. */
const SCROLL_TICK_PX = 12;

/** Listens on one element. */
export class Gestures {
  /**
   * @param {HTMLElement} element
   * @param {GestureHandlers} handlers
   */
  constructor(element, handlers) {
    this.element = element;
    this.handlers = handlers;
    /** @type {Map<number, Point>} */
    this.pointers = new Map();
    /** @type {"primary" | "secondary" | "pan" | "zoom" | "grab" | "fingers" | null} */
    this.mode = null;
    this.moved = false;
    this.start = { x: 0, y: 0 };
    this.lastTap = { time: -Infinity, x: 0, y: 0 };
    this.wheelRest = 0;
    this.scrollRest = 0;
    this.fingersMost = 0;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", (event) => this.up(event));
    element.addEventListener("pointercancel", (event) => this.up(event, true));
    element.addEventListener("pointerleave", () => this.handlers.hover(null));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    // Middle-click autoscroll, and the selection that a drag would begin.
    element.addEventListener("mousedown", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** @param {MouseEvent} event @returns {Point} */
  position(event) {
    const box = this.element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {PointerEvent} event */
  down(event) {
    const at = this.position(event);
    if (event.pointerType !== "touch" && this.pointers.size > 0) return;
    this.pointers.set(event.pointerId, at);
    this.element.setPointerCapture(event.pointerId);
    if (this.pointers.size > 1) {
      this.mode = "fingers";
      this.moved = true;
      this.fingersMost = Math.max(this.fingersMost, this.pointers.size);
      return;
    }
    this.moved = false;
    this.start = at;
    this.scrollRest = 0;
    this.fingersMost = 1;
    if (event.button === 1 || (event.button === 0 && event.shiftKey)) this.mode = "pan";
    else if (event.button === 2 || (event.button === 0 && event.ctrlKey)) this.mode = "zoom";
    else if (event.altKey) this.mode = "secondary";
    else this.mode = this.handlers.grab(at) ? "grab" : "primary";
  }

  /** @param {PointerEvent} event */
  move(event) {
    const at = this.position(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.handlers.hover(at);
      return;
    }
    if (this.mode === "fingers") {
      this.moveFingers(event.pointerId, at);
      return;
    }
    const slop = event.pointerType === "touch" ? TOUCH_SLOP_PX : TAP_SLOP_PX;
    if (!this.moved && Math.hypot(at.x - this.start.x, at.y - this.start.y) < slop) return;
    this.moved = true;
    this.pointers.set(event.pointerId, at);
    if (this.mode) this.handlers.drag(this.mode, at.x - before.x, at.y - before.y, at);
    if (event.pointerType !== "touch") this.handlers.hover(at);
  }

  /**
   * Two fingers pan and pinch, three scroll; a hand that had three down goes on scrolling.
   *
   * @param {number} id
   * @param {Point} at
   */
  moveFingers(id, at) {
    const before = this.spread();
    this.pointers.set(id, at);
    const after = this.spread();
    const dx = after.x - before.x;
    const dy = after.y - before.y;
    if (this.fingersMost >= 3) {
      this.scrollRest += dy / SCROLL_TICK_PX;
      const ticks = Math.trunc(this.scrollRest);
      this.scrollRest -= ticks;
      if (ticks !== 0) this.handlers.wheel(ticks, after);
      return;
    }
    if (this.pointers.size < 2) return;
    this.handlers.drag("pan", dx, dy, after);
    if (before.radius > 8 && after.radius > 8) this.handlers.pinch(after.radius / before.radius, after);
  }

  /** The fingers' centre and mean distance from it. */
  spread() {
    const points = [...this.pointers.values()];
    const x = points.reduce((sum, point) => sum + point.x, 0) / points.length;
    const y = points.reduce((sum, point) => sum + point.y, 0) / points.length;
    const radius = points.reduce((sum, point) => sum + Math.hypot(point.x - x, point.y - y), 0) / points.length;
    return { x, y, radius };
  }

  /** @param {PointerEvent} event @param {boolean} [cancelled] */
  up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pointers.size > 0) return;
    const { mode, moved } = this;
    this.mode = null;
    if (!moved && !cancelled && (mode === "primary" || mode === "grab")) this.tapped(event);
    this.handlers.end();
  }

  /** @param {PointerEvent} event */
  tapped(event) {
    const at = this.position(event);
    const near = Math.hypot(at.x - this.lastTap.x, at.y - this.lastTap.y) < DOUBLE_TAP_PX;
    if (near && event.timeStamp - this.lastTap.time < DOUBLE_TAP_MS) {
      this.lastTap = { time: -Infinity, x: 0, y: 0 };
      this.handlers.doubleTap();
      return;
    }
    this.lastTap = { time: event.timeStamp, ...at };
    this.handlers.tap(at);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const unit = [1, LINE_PX, PAGE_PX][event.deltaMode];
    const pixels = (event.deltaY || event.deltaX) * unit;
    const at = this.position(event);
    if (event.ctrlKey) {
      // A pinch on a touchpad.
      this.handlers.pinch(Math.exp(-Math.max(-50, Math.min(50, pixels)) / 100), at);
      return;
    }
    let ticks;
    if (Math.abs(pixels) >= NOTCH_PX) {
      this.wheelRest = 0;
      ticks = Math.sign(pixels) * Math.max(1, Math.round(Math.abs(pixels) / 120));
    } else {
      this.wheelRest += pixels / TOUCHPAD_TICK_PX;
      ticks = Math.trunc(this.wheelRest);
      this.wheelRest -= ticks;
    }
    if (ticks !== 0) this.handlers.wheel(ticks, at);
  }
}
