// A client of the stream in one file, written from docs/protocol.md alone. Node 22, or 20 with --experimental-websocket.
//
//   node snapshot.mjs ws://127.0.0.1:8080/stream picture.pgm [--token TOKEN] [--watch SHARE_ID] [--break]
//
// Scrolls through the first volume (or watches what another client shows), waits until the last view is exact, writes
// it as a PGM, and says what it saw. Comes back where the connection breaks; --break breaks it once, to show that.

import { writeFileSync } from "node:fs";
import zlib from "node:zlib";

const [url, file, ...rest] = process.argv.slice(2);
const option = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : "");
const watched = option("--watch");
let breaks = rest.includes("--break");
const COME_BACK = new Set([1001, 1005, 1006, 1011, 1012, 1013]);
const SLICES = 8;

let socket, epoch, resumeToken = "", failures = 0;
let view = null, viewId = "plane", revision = 0; // what is to be seen: one view, absolute and numbered
let sequence = 0, parts = []; // of the frame that is shown, and the chunks of the one that arrives

const send = (message) => socket.send(JSON.stringify(message));
const setView = () => send({ set_view: { view_id: viewId, revision, view } });

function connect() {
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () =>
    send({ hello: { protocol_version: 1, token: option("--token"), resume_token: resumeToken, client: "snapshot.mjs" } });
  socket.onmessage = ({ data }) => (typeof data === "string" ? control(JSON.parse(data)) : chunk(data));
  socket.onclose = ({ code, reason }) => {
    console.log(`closed ${code} ${reason}`);
    if (code === 1000 || !COME_BACK.has(code)) process.exit(process.exitCode ?? (code === 1000 ? 0 : 1));
    setTimeout(connect, Math.min(8000, 250 * 2 ** failures++) * (0.75 + Math.random() / 2));
  };
}

function control(message) {
  if (message.welcome) {
    ({ epoch, resume_token: resumeToken } = message.welcome);
    [sequence, parts, failures] = [0, [], 0]; // sequences begin anew with each epoch
    console.log(`welcome, epoch ${epoch}`);
    if (watched && epoch === 1) send({ watch: { share_id: watched } });
    else if (view && !watched) setView(); // known to the server already if it took the session up: harmless
    else if (!watched) send({ open_volume: { volume_id: message.welcome.volumes[0].volume_id } });
  } else if (message.volume_opened) {
    view = message.volume_opened.volume.initial_views[0].view;
    view.viewport = { width_px: 160, height_px: 120 };
    for (revision = 1; ; revision++) {
      setView(); // as often as one likes: the server draws the latest only
      if (revision === SLICES) break;
      for (const point of [view.camera.position, view.camera.look_at]) point.z += 1;
    }
  } else if (message.view_set) {
    ({ view_id: viewId, revision, view } = message.view_set); // by whoever drives what is watched
  } else if (message.error) {
    console.log(`error ${message.error.reason}: ${message.error.message}`);
    if (message.error.view_id || message.error.volume_id || watched) process.exitCode = 1;
    if (process.exitCode) socket.close(1000);
  }
}

function chunk(data) {
  const size = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
  if (header.epoch !== epoch || header.view_id !== viewId) return;
  if (header.chunk_index === 0) parts = []; // what was there of an older frame is given up
  parts.push(new Uint8Array(data, 4 + size));
  if (header.chunk_index + 1 < header.chunk_count) return;
  if (breaks && header.chunk_index + 1 === header.chunk_count) {
    breaks = false;
    socket.onclose({ code: 1006, reason: "broken on purpose" });
    socket.onmessage = socket.onclose = null;
    socket.close();
    return;
  }
  const payload = Buffer.concat(parts);
  parts = [];
  if (header.sequence > sequence) {
    sequence = header.sequence;
    show(header, payload);
  }
  send({ acknowledge: { view_id: header.view_id, sequence: header.sequence } }); // also if it was dropped
  const exact = header.quality === "FRAME_QUALITY_FINAL" && header.view_revision === revision;
  if (exact) socket.close(1000);
}

function show(header, payload) {
  const { encoding, width_px: width, height_px: height, view_revision, payload_bytes, payload_crc32 } = header;
  if (payload.length !== payload_bytes || crc32(payload) !== payload_crc32) throw new Error("damaged frame");
  console.log(`frame ${header.sequence} of revision ${view_revision}: ${encoding}, ${payload_bytes} bytes`);
  if (encoding !== "FRAME_ENCODING_VALUES_DEFLATE") return; // a page would paint the JPEG
  const planes = zlib.inflateRawSync(payload);
  const count = width * height;
  const gray = Buffer.alloc(count);
  let [lowest, highest, code] = [Infinity, -Infinity, 0];
  for (let at = 0; at < count; at++) {
    const zigzag = planes[at] + 256 * planes[at + count];
    code = (((zigzag >> 1) ^ -(zigzag & 1)) + (at % width ? code : 0)) & 65535;
    const value = code === 65535 ? -Infinity : code * header.value_slope + header.value_intercept;
    if (code !== 65535) [lowest, highest] = [Math.min(lowest, value), Math.max(highest, value)];
    const level = Math.floor(255 * Math.min(1, Math.max(0, windowed(header.window, value))) + 0.5);
    gray[at] = header.inverted ? 255 - level : level;
  }
  writeFileSync(file, Buffer.concat([Buffer.from(`P5 ${width} ${height} 255\n`), gray]));
  console.log(`values ${lowest} to ${highest} ${header.units}`);
}

function windowed({ function: name, center, width }, value) {
  if (name === "WINDOW_FUNCTION_SIGMOID") return 1 / (1 + Math.exp((-4 * (value - center)) / width));
  if (name === "WINDOW_FUNCTION_LINEAR_EXACT") return (value - center) / width + 0.5;
  if (name !== "WINDOW_FUNCTION_LINEAR") throw new Error(`${name}: its table is in the volume's description`);
  if (width === 1) return value > center - 0.5 ? 1 : 0;
  return (value - (center - 0.5)) / (width - 1) + 0.5;
}

function crc32(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes); // Node 22.2
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

connect();
