// Opens the page in Firefox over WebDriver BiDi, uses it, and prints what it saw as JSON.
//
//   node page.mjs MODULES FIREFOX URL     MODULES: the folder that holds node_modules/puppeteer-core

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, executablePath, url] = process.argv.slice(2);
const entry = createRequire(join(modules, "package.json")).resolve("puppeteer-core");
const { default: puppeteer } = await import(pathToFileURL(entry).href);

const PATIENCE_MS = 90_000;

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath,
  headless: true,
  extraPrefsFirefox: { "app.normandy.enabled": false, "network.captive-portal-service.enabled": false },
});
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 900, height: 700 });
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.goto(url);

  const inspect = () => page.evaluate(() => window.voxelcast.inspect());
  async function settle() {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const state = await inspect();
      if (Object.values(state.panes).every((pane) => pane.settled)) return state;
      if (Date.now() > end) throw new Error(`never settled: ${JSON.stringify(state)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  /** The canvas: its size and its RGBA bytes, base64. */
  const pixels = (pane) =>
    page.evaluate((name) => {
      const canvas = document.querySelector(`[data-pane='${name}'] canvas`);
      const { width, height } = canvas;
      const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
      let text = "";
      for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
      return { width, height, data: btoa(text) };
    }, pane);
  const sliceText = () => page.$eval("[data-pane='axial'] .slice-text", (element) => element.textContent);
  const center = async (pane) => {
    const box = await (await page.$(`[data-pane='${pane}'] .stage`)).boundingBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  async function shot() {
    const state = await settle();
    const canvases = {};
    for (const name of Object.keys(state.panes)) canvases[name] = await pixels(name);
    return { state, canvases, slice: await sliceText() };
  }

  const first = await shot();
  await page.mouse.move(...(await center("axial")));
  for (let tick = 0; tick < 3; tick++) await page.mouse.wheel({ deltaY: 120 });
  const [x, y] = await center("3d");
  await page.mouse.move(x + 40, y + 30);
  await page.mouse.down();
  await page.mouse.move(x + 130, y + 30, { steps: 5 });
  await page.mouse.up();
  const used = await shot();

  const [left, top] = await center("coronal");
  await page.mouse.move(left + 40, top + 30);
  await page.mouse.down();
  await page.mouse.move(left + 100, top + 50, { steps: 5 });
  await page.mouse.up();
  const windowed = await shot();
  console.log(JSON.stringify({ version: await browser.version(), first, used, windowed, problems }));
} finally {
  await browser.close();
}
