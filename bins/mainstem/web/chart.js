// A chart of one figure over time, on a canvas: an area with its newest value at the right edge, and the value under the pointer.

import { h, nodeNow, short, span } from "./dom.js";

const [RIGHT, TOP, BOTTOM] = [10, 10, 20];

/**
 * A chart of `seconds` up to now. `draw(points)` takes [{ time, value }] by ascending time, and leaves a gap where none is known.
 * `format` makes texts of values.
 */
export function chart({ label, seconds = 300, height = 160, format = short, tone = "--accent" }) {
  const canvas = h("canvas", { class: "chart", role: "img", "aria-label": label });
  const readout = h("output", { class: "readout", "aria-hidden": "true", hidden: true });
  const element = h("div", { class: "chart-box" }, canvas, readout);
  canvas.style.height = `${height}px`;
  let [points, pointer, frame] = [[], undefined, 0];

  const ask = () => { frame ||= requestAnimationFrame(() => { frame = 0; paint(); }); };

  function paint() {
    const width = canvas.clientWidth;
    if (width === 0) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${style.fontFamily}`;

    const now = Math.max(points.at(-1)?.time ?? 0, nodeNow() - 1500);
    const most = ceiling(Math.max(0, ...points.map(({ value }) => value ?? 0)));
    const lines = height < 110 ? 2 : 4;
    const labels = Array.from({ length: lines + 1 }, (_, i) => format((most * i) / lines));
    const LEFT = 10 + Math.max(28, ...labels.map((text) => pen.measureText(text).width));
    const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (now - time) / (seconds * 1000));
    const y = (value) => height - BOTTOM - (height - TOP - BOTTOM) * (value / most);

    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let i = 0; i <= lines; i += 1) {
      const value = (most * i) / lines;
      pen.fillStyle = color("--line");
      pen.fillRect(LEFT, Math.round(y(value)), width - LEFT - RIGHT, 1);
      pen.fillStyle = color("--soft");
      pen.fillText(labels[i], LEFT - 8, y(value));
    }
    pen.textBaseline = "alphabetic";
    for (let back = 0; back <= seconds; back += seconds / (width < 560 ? 2 : seconds % 5 === 0 && seconds > 200 ? 5 : 4)) {
      pen.textAlign = back === 0 ? "right" : back >= seconds ? "left" : "center";
      pen.fillText(back === 0 ? "now" : `−${back < 120 && back % 60 ? `${back} s` : `${back / 60} min`}`, x(now - back * 1000), height - 4);
    }

    const shown = points.filter(({ time, value }) => value !== undefined && value !== null && time >= now - seconds * 1000);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT - RIGHT + 4, height - BOTTOM + 1);
    pen.clip();
    for (const run of runs(shown)) {
      pen.beginPath();
      run.forEach(({ time, value }, i) => (i === 0 ? pen.moveTo(x(time), y(value)) : pen.lineTo(x(time), y(value))));
      pen.strokeStyle = color(tone);
      pen.lineWidth = 1.6;
      pen.lineJoin = "round";
      pen.stroke();
      pen.lineTo(x(run.at(-1).time), y(0));
      pen.lineTo(x(run[0].time), y(0));
      pen.globalAlpha = 0.12;
      pen.fillStyle = color(tone);
      pen.fill();
      pen.globalAlpha = 1;
    }
    pen.restore();
    if (shown.length === 0) {
      pen.textAlign = "center";
      pen.clearRect((LEFT + width - RIGHT) / 2 - 50, height / 2 - 12, 100, 16);
      pen.fillText("no figures yet", (LEFT + width - RIGHT) / 2, height / 2);
    }

    const near = pointer === undefined ? undefined : nearest(shown, now - ((width - RIGHT - pointer) / (width - LEFT - RIGHT)) * seconds * 1000);
    readout.hidden = !near;
    const last = near ?? shown.at(-1);
    if (!last) return;
    if (near) {
      pen.fillStyle = color("--soft");
      pen.fillRect(Math.round(x(near.time)), TOP, 1, height - TOP - BOTTOM);
      readout.textContent = `${format(near.value)} · ${span(now - near.time)} ago`;
      const at = Math.min(Math.max(x(near.time), LEFT + 50), width - 70);
      readout.style.transform = `translate(calc(${at}px - 50%), 0)`;
    }
    pen.beginPath();
    pen.arc(x(last.time), y(last.value), 3, 0, 7);
    pen.fillStyle = color(tone);
    pen.fill();
  }

  canvas.addEventListener("pointermove", (event) => { pointer = event.offsetX; ask(); });
  canvas.addEventListener("pointerleave", () => { pointer = undefined; ask(); });
  const resized = new ResizeObserver(ask);
  resized.observe(canvas);
  window.addEventListener("themechange", ask);
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", ask);
  return {
    element,
    draw(next) {
      points = next;
      const last = points.at(-1)?.value;
      canvas.setAttribute("aria-label", last === undefined ? label : `${label}: now ${format(last)}`);
      ask();
    },
    close() {
      resized.disconnect();
      window.removeEventListener("themechange", ask);
      scheme.removeEventListener("change", ask);
    },
  };
}

/** The next of 1, 2, 2.5, 4, 5 times a power of ten, so that all lines have short numbers. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value * 1.08));
  return [1, 2, 4, 5, 8, 10].map((step) => step * power).find((step) => step >= value * 1.08) ?? 10 * power;
}

/** Where nothing was heard for ten seconds, there is no line. */
function runs(points) {
  const found = [];
  for (const point of points) {
    const run = found.at(-1);
    if (run && point.time - run.at(-1).time < 10_000) run.push(point);
    else found.push([point]);
  }
  return found;
}

function nearest(points, time) {
  let best;
  for (const point of points) if (!best || Math.abs(point.time - time) < Math.abs(best.time - time)) best = point;
  return best;
}
