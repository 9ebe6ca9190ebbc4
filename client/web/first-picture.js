/**
 * What a pane says while it waits for its first picture, which may wait for a kernel to be compiled.
 *
 * @module first-picture
 */

/** As soon as it is said that there is a wait, and as often as a second of it goes by. */
const LOOK_MS = 1000;
/**
 * How many parts' time a first picture takes, that of a volume being the longest: what it needs is compiled at once, beside
 * what is being compiled.
 */
const PARTS_OF_A_PICTURE = 4;
export const DRAWING = "Drawing the first picture…";

/** @typedef {{done: number, total: number, seconds: number}} Compiling As `/progress` has it. */

/**
 * @param {Compiling | null} compiling
 * @returns {string}
 */
export function waitText(compiling) {
  if (!compiling) return DRAWING;
  const { done, total, seconds } = compiling;
  const so = `The server compiles its renderer, once after an installation: ${done} of ${total} parts.`;
  if (done === 0) return so;
  const wait = Math.ceil((PARTS_OF_A_PICTURE * seconds) / done / 5) * 5;
  return `${so} A picture needs a few of them: about ${wait} s.`;
}

/** Asks how far the server is, while a pane waits for longer than a second. */
export class FirstPicture {
  /**
   * @param {import("./pane.js").Pane[]} panes
   * @param {() => string} token That the server asked for; empty if none.
   */
  constructor(panes, token) {
    this.panes = panes;
    this.token = token;
    setInterval(() => this.look(), LOOK_MS);
  }

  async look() {
    const waiting = this.panes.filter((pane) => pane.isAwaited && pane.isShown);
    if (waiting.length === 0 || document.visibilityState !== "visible") return;
    const token = this.token();
    const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
    const answer = await fetch("progress", { headers }).then((response) => response.json()).catch(() => ({}));
    for (const pane of waiting) pane.stage.dataset.wait = waitText(answer.compiling ?? null);
  }
}
