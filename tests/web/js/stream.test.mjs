// The client's side of the protocol, on a socket and a clock that the test moves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FrameAssembler, parseFrameMessage } from "../../../client/web/frame-assembler.js";
import { StreamClient } from "../../../client/web/stream.js";

class FakeSocket {
  constructor(world) {
    this.readyState = 0;
    this.bufferedAmount = 0;
    this.sent = [];
    world.sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  says(message) {
    this.onmessage({ data: typeof message === "object" && !(message instanceof ArrayBuffer) ? JSON.stringify(message) : message });
  }

  dies(code = 1006) {
    this.readyState = 3;
    this.onclose({ code });
  }
}

class World {
  constructor() {
    this.time = 0;
    this.asleep = 0;
    this.timers = new Map();
    this.timerCount = 0;
    this.sockets = [];
    this.events = [];
    const world = this;
    const note = (kind) => (...details) => this.events.push([kind, ...details]);
    const handlers = Object.fromEntries(
      ["status", "welcome", "volumeList", "volumeOpened", "loadProgress", "error", "frame"].map((kind) => [kind, note(kind)]),
    );
    this.client = new StreamClient("ws://here/stream", handlers, {
      WebSocket: function () {
        return new FakeSocket(world);
      },
      setTimeout: (task, wait) => {
        const id = ++this.timerCount;
        this.timers.set(id, { task, at: this.time + wait });
        return id;
      },
      clearTimeout: (id) => this.timers.delete(id),
      now: () => this.time,
      wallClock: () => this.time + this.asleep,
      random: () => 0.5,
    });
  }

  get socket() {
    return this.sockets.at(-1);
  }

  pass(ms) {
    this.time += ms;
    for (const [id, { task, at }] of [...this.timers]) {
      if (at > this.time) continue;
      this.timers.delete(id);
      task();
    }
  }

  /** Let time go by as it does: all timers have their turn. */
  live(ms) {
    const end = this.time + ms;
    for (;;) {
      const next = Math.min(...[...this.timers.values()].map(({ at }) => at));
      if (next > end) break;
      this.pass(Math.max(0, next - this.time));
    }
    this.time = end;
  }

  /** Only the wall clock goes on. */
  sleep(ms) {
    this.asleep += ms;
  }

  pings() {
    return this.socket.sent.filter((message) => message.ping).length;
  }

  connect({ epoch = 1, resume = "r1" } = {}) {
    if (!this.sockets.length) this.client.connect();
    this.socket.open();
    this.socket.says({ welcome: { epoch, resume_token: resume, volumes: [], presets: [] } });
    return this.socket;
  }

  views() {
    return this.socket.sent.filter((message) => message.set_view).map(({ set_view }) => [set_view.revision, set_view.view.name]);
  }
}

function frameMessage(header, payload) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(4 + text.length + payload.length);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set(payload, 4 + text.length);
  return bytes.buffer;
}

const chunk = (sequence, index, count, payload, total, view = "axial") =>
  frameMessage(
    { view_id: view, sequence, epoch: 1, chunk_index: index, chunk_count: count, payload_bytes: total },
    Uint8Array.from(payload),
  );

test("hello is the first message", () => {
  const world = new World();
  world.connect();
  assert.deepEqual(world.socket.sent[0].hello, {
    protocol_version: 1, token: "", resume_token: "", client: "voxelcast-web/0.1",
  });
});

test("the latest of many views is sent, with a larger revision", () => {
  const world = new World();
  world.connect();
  for (const name of ["a", "b", "c", "d"]) world.client.setView("axial", { name });
  world.pass(8);
  // The first may go at once; those that follow it merge.
  assert.deepEqual(world.views().at(-1), [4, "d"]);
  assert.ok(world.views().length <= 2);
});

test("views of two panes do not replace each other", () => {
  const world = new World();
  world.connect();
  world.client.setView("axial", { name: "a" });
  world.client.setView("coronal", { name: "c" });
  world.pass(8);
  assert.deepEqual(new Set(world.socket.sent.slice(1).map(({ set_view }) => set_view.view_id)), new Set(["axial", "coronal"]));
});

test("nothing is added to a socket that has not sent the last thing yet", () => {
  const world = new World();
  world.connect();
  world.pass(100);
  world.socket.bufferedAmount = 1000;
  for (const name of ["a", "b"]) {
    world.client.setView("axial", { name });
    world.pass(10);
  }
  assert.deepEqual(world.views(), []);
  world.socket.bufferedAmount = 0;
  world.pass(10);
  assert.deepEqual(world.views(), [[2, "b"]]);
});

test("a lost socket comes back later and later, resumes, and sends all views again", () => {
  const world = new World();
  world.connect();
  world.client.setView("axial", { name: "a" });
  world.pass(8);
  world.client.keepView("axial", { name: "a, windowed" });
  world.socket.dies();
  const waits = [];
  for (let attempt = 0; attempt < 7; attempt++) {
    const [{ at }] = [...world.timers.values()];
    waits.push(at - world.time);
    world.pass(at - world.time);
    if (attempt < 6) world.socket.dies();
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 8000]);
  world.connect({ epoch: 2, resume: "r2" });
  assert.equal(world.socket.sent[0].hello.resume_token, "r1");
  assert.deepEqual(world.views(), [[1, "a, windowed"]]);
  assert.equal(world.client.failures, 0);
});

test("what was set while nobody listened is sent first thing", () => {
  const world = new World();
  world.client.connect();
  world.client.setView("axial", { name: "a" });
  world.client.setView("axial", { name: "b" });
  world.connect();
  assert.deepEqual(world.views(), [[2, "b"]]);
});

test("frames of another epoch are dropped, and not acknowledged", () => {
  const world = new World();
  world.connect({ epoch: 2 });
  world.socket.says(chunk(1, 0, 1, [1], 1));
  assert.ok(!world.events.some(([kind]) => kind === "frame"));
  world.client.acknowledge({ view_id: "axial", sequence: 1, epoch: 1 });
  assert.equal(world.socket.sent.length, 1);
});

test("an acknowledgement names the frame", () => {
  const world = new World();
  world.connect();
  world.client.acknowledge({ view_id: "axial", sequence: 9, epoch: 1 });
  assert.deepEqual(world.socket.sent[1], { acknowledge: { view_id: "axial", sequence: 9 } });
});

test("a hidden page says so, also to a server it finds later", () => {
  const world = new World();
  world.connect();
  world.client.setVisible(false);
  assert.deepEqual(world.socket.sent.at(-1), { set_visibility: { visible: false } });
  world.socket.dies();
  world.pass(300);
  world.connect();
  assert.deepEqual(world.socket.sent[1], { set_visibility: { visible: false } });
});

test("a page that is shown again does not wait for the next try", () => {
  const world = new World();
  world.connect();
  world.socket.dies();
  world.client.setVisible(false);
  world.client.setVisible(true);
  assert.equal(world.sockets.length, 2);
});

test("without a token there is no second try, until one is given", () => {
  const world = new World();
  world.client.connect();
  world.socket.open();
  world.socket.says({ error: { reason: "UNAUTHENTICATED", message: "a token is needed" } });
  world.sockets[0].dies();
  world.pass(60000);
  assert.equal(world.sockets.length, 1);
  assert.equal(world.client.status, "locked");
  assert.equal(world.client.refused, false);
  world.client.unlock("secret");
  world.socket.open();
  assert.equal(world.socket.sent[0].hello.token, "secret");
  world.socket.says({ error: { reason: "UNAUTHENTICATED", message: "the token is wrong" } });
  assert.deepEqual([world.client.status, world.client.refused], ["locked", true]);
});

test("a session that the server ended for good is not tried again", () => {
  for (const [code, status] of [[1008, "ended"], [1002, "ended"], [1001, "waiting"], [1012, "waiting"], [1013, "waiting"]]) {
    const world = new World();
    world.connect();
    world.socket.dies(code);
    world.pass(10000);
    assert.equal(world.sockets.length, status === "ended" ? 1 : 2, String(code));
  }
});

test("an idle page asks for a sign of life every 25 s, and is content with the answer", () => {
  const world = new World();
  world.connect();
  world.live(24000);
  assert.equal(world.pings(), 0);
  for (let times = 1; times <= 4; times++) {
    world.live(times === 1 ? 2000 : 26000);
    assert.equal(world.pings(), times);
    world.socket.says({ pong: {} });
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(world.client.status, "live");
});

test("who came too late to say hello tries again", () => {
  const world = new World();
  world.client.connect();
  world.socket.open();
  world.socket.says({ error: { reason: "HELLO_TIMEOUT", message: "no hello within 10 s" } });
  world.socket.dies(1008);
  assert.equal(world.client.status, "waiting");
  world.pass(300);
  world.connect();
  world.socket.says({ error: { reason: "TAKEN_OVER", message: "taken up by another connection" } });
  world.socket.dies(1008);
  assert.equal(world.client.status, "ended");
});

test("a socket that died in silence is given up, and another one resumes", () => {
  const world = new World();
  world.connect();
  world.live(32000);
  assert.deepEqual([world.pings(), world.client.status], [1, "live"]);
  world.live(1500);
  assert.equal(world.client.status, "connecting");
  assert.equal(world.sockets[0].readyState, 3);
  assert.equal(world.sockets.length, 2);
  // What the dead socket says in the end is not heard.
  world.sockets[0].onclose({ code: 1008 });
  world.connect({ epoch: 2 });
  assert.equal(world.socket.sent[0].hello.resume_token, "r1");
  assert.equal(world.client.status, "live");
});

test("who waits for an answer asks sooner", () => {
  const world = new World();
  world.connect();
  world.live(10000);
  for (let at = 0; at < 10; at++) {
    world.client.setView("axial", { name: `at ${at}` }); // a hand that goes on moving does not put it off
    world.live(450);
  }
  assert.equal(world.pings(), 1);
  world.live(9000);
  assert.equal(world.sockets.length, 2);
});

test("frames, progress, anything is a sign of life", () => {
  const world = new World();
  world.connect();
  for (let at = 0; at < 20; at++) {
    world.client.setView("axial", { name: `at ${at}` });
    world.live(3000);
    world.socket.says(at % 2 ? { load_progress: {} } : chunk(at + 1, 0, 1, [1], 1));
  }
  assert.equal(world.pings(), 0);
});

test("after a sleep it is asked at once, and the socket given up after a second and a half", () => {
  const world = new World();
  world.connect();
  world.live(2000);
  world.sleep(3600e3);
  world.live(1000);
  assert.equal(world.pings(), 1);
  world.live(1400);
  world.sleep(3600e3); // the lid is closed once more before the answer is there: it gets its time again
  world.live(100);
  world.live(1000);
  assert.deepEqual([world.pings(), world.sockets.length], [2, 1]);
  world.live(800);
  assert.equal(world.sockets.length, 2);
});

test("a machine that wakes, a page that is shown and a network that comes back ask, and expect an answer soon", () => {
  for (const wake of [(client) => client.setVisible(true), (client) => client.wake()]) {
    const world = new World();
    world.connect();
    world.client.setVisible(false);
    wake(world.client);
    assert.equal(world.pings(), 1);
    world.live(1499);
    assert.equal(world.client.status, "live");
    world.live(1);
    assert.equal(world.client.status, "waiting");
  }
});

test("what was asked without haste is not waited for once the machine has woken", () => {
  const world = new World();
  world.connect();
  world.live(26000);
  assert.equal(world.pings(), 1);
  world.client.wake();
  world.live(1500);
  assert.equal(world.client.status, "waiting");
});

test("a socket that is being opened when a network comes back is not waited for", () => {
  const world = new World();
  world.client.connect();
  world.live(500);
  world.client.wake();
  world.live(1800);
  assert.equal(world.sockets.length, 2);
  world.live(7000);
  assert.equal(world.sockets.length, 2, "the next one has its whole time");
});

test("a link that is known to be slow is not given up in haste", () => {
  const world = new World();
  world.connect();
  world.client.wake();
  world.live(1000);
  world.socket.says({ pong: {} });
  world.client.wake();
  world.live(3900);
  assert.equal(world.client.status, "live");
  world.live(200);
  assert.equal(world.client.status, "waiting");
});

test("haste teaches no patience", () => {
  const world = new World();
  world.connect();
  world.client.wake();
  world.live(2000);
  world.connect({ epoch: 2 });
  world.client.setView("axial", { name: "a" });
  world.live(14000);
  assert.equal(world.sockets.length, 3);
});

test("a connection that never opens is given up, with more patience each time", () => {
  const world = new World();
  world.client.connect();
  const waits = [];
  for (let at = 0; at < 5; at++) {
    const begun = world.time;
    while (world.client.status === "connecting") world.live(1000);
    waits.push(world.time - begun);
    while (world.client.status === "waiting") world.live(250);
  }
  assert.deepEqual(waits, [8000, 16000, 32000, 64000, 64000]);
});

test("a large picture behind a slow link does not end the session again and again", () => {
  const world = new World();
  world.connect();
  world.client.setView("axial", { name: "a" });
  world.live(14000);
  assert.equal(world.sockets.length, 2);
  world.connect({ epoch: 2 });
  world.live(18000); // longer than the first time
  assert.equal(world.sockets.length, 2);
});

test("chunks of several views may alternate", () => {
  const assembler = new FrameAssembler();
  assert.equal(assembler.push(chunk(1, 0, 2, [1, 2], 3)), null);
  assert.equal(assembler.push(chunk(1, 0, 2, [7], 2, "coronal")), null);
  assert.deepEqual([...assembler.push(chunk(1, 1, 2, [3], 3)).payload], [1, 2, 3]);
  assert.deepEqual([...assembler.push(chunk(1, 1, 2, [8], 2, "coronal")).payload], [7, 8]);
});

test("a newer frame replaces the half of an older one", () => {
  const assembler = new FrameAssembler();
  assembler.push(chunk(1, 0, 2, [1], 2));
  assert.deepEqual([...assembler.push(chunk(2, 0, 1, [5], 1)).payload], [5]);
  assert.throws(() => assembler.push(chunk(1, 1, 2, [2], 2)), /no beginning/);
});

test("chunks that do not fit are refused", () => {
  const assembler = new FrameAssembler();
  assembler.push(chunk(1, 0, 3, [1], 3));
  assert.throws(() => assembler.push(chunk(1, 2, 3, [3], 3)), /chunk 1 and 2 bytes are due/);
  assembler.push(chunk(2, 0, 2, [1], 2));
  assert.throws(() => assembler.push(chunk(2, 1, 2, [2, 3], 2)), /1 bytes are due/);
});

test("malformed messages are told, and the session goes on", () => {
  assert.throws(() => parseFrameMessage(new ArrayBuffer(3)), /3 bytes/);
  assert.throws(() => parseFrameMessage(Uint8Array.from([255, 0, 0, 0, 1]).buffer), /header of 255 bytes/);
  const world = new World();
  world.connect();
  world.socket.says(new ArrayBuffer(2));
  assert.equal(world.events.at(-1)[1].reason, "MALFORMED_FRAME");
  world.socket.says(chunk(1, 0, 1, [4], 1));
  assert.equal(world.events.at(-1)[0], "frame");
});

test("who watches sends no view until it drives, and goes on from the driver's revision", () => {
  const world = new World();
  world.client.watch("secret");
  world.client.connect();
  world.socket.open();
  world.socket.says({ welcome: { epoch: 1, resume_token: "a", volumes: [] } });
  assert.deepEqual(world.socket.sent[1], { watch: { share_id: "secret" } });
  world.socket.says({ sharing: { share_id: "secret", driving: false, driven: true, participants: 2 } });
  world.socket.says({ view_set: { view_id: "axial", revision: 7, view: { slab_mm: 1 } } });
  assert.ok(world.client.watching);
  world.pass(100);
  assert.equal(world.socket.sent.length, 2);
  world.client.drive();
  assert.deepEqual(world.socket.sent[2], { drive: {} });
  world.socket.says({ sharing: { share_id: "secret", driving: true, driven: true, participants: 2 } });
  assert.equal(world.client.setView("axial", { slab_mm: 2 }), 8);
  world.pass(100);
  assert.deepEqual(world.socket.sent[3], { set_view: { view_id: "axial", revision: 8, view: { slab_mm: 2 } } });
  // Somebody else takes the wheel: what was not sent is not sent any more.
  world.socket.bufferedAmount = 1;
  world.client.setView("axial", { slab_mm: 3 });
  world.socket.says({ sharing: { share_id: "secret", driving: false, driven: true, participants: 2 } });
  world.socket.bufferedAmount = 0;
  world.pass(100);
  assert.equal(world.socket.sent.length, 4);
});

test("a server that knows the share no more is asked for it again by who watches only", () => {
  for (const driving of [true, false]) {
    const world = new World();
    world.client.connect();
    world.socket.open();
    world.socket.says({ welcome: { epoch: 1, resume_token: "a", volumes: [] } });
    world.socket.says({ sharing: { share_id: "secret", driving, driven: true, participants: 2 } });
    world.socket.dies();
    world.pass(1000);
    world.socket.open();
    world.socket.says({ welcome: { epoch: 1, resume_token: "b", volumes: [] } });
    assert.equal(world.client.watching, !driving);
    assert.deepEqual(world.socket.sent.slice(1), driving ? [] : [{ watch: { share_id: "secret" } }]);
  }
});
