const draw = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
function integers(text) {  // little-endian on any machine
  const raw = new DataView(bytesOf(text).buffer);
  return Int16Array.from({ length: raw.byteLength / 2 }, (_, n) => raw.getInt16(2 * n, true));
}
const number = (value, digits = 2) =>
  value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");  // no minus before 0.00

// ---- state ----------------------------------------------------------------------------------
const FULL = 32767, STEP_PIXELS = 10;  // an output frame is never narrower than this
const steps = data.frames, seconds = steps * data.step;
const across = (time) => 100 * (time - data.start) / seconds + "%";  // of the time axis
const beginning = (frame) => Math.max(0, data.start + frame * data.step);
const frameAt = (time) => Math.floor((time - data.start) / data.step);
const posteriors = integers(data.posteriors), soundLevels = bytesOf(data.sound.values);
const state = { layer: data.shown[0], direction: data.shown[1], row: 0, mel: 0,
                zoom: clamp(seconds / (data.span[1] - data.span[0]), 1, 64), frame: 0 };
const first = data.characters.find(([, start]) => start >= data.span[0] && start < data.span[1]);
state.frame = frameAt((first?.[1] ?? data.span[0]) + data.step / 2);
let shown = null;  // { units, which, high, limit, cells: { name: Int16Array } }, time first
const unpacked = new Map();
let markers = [], charts = [], cursor = null, scroller = null, track = null;

function choose(layer, direction) {
  const found = data.layers[layer - 1][direction];
  const key = layer + direction;
  if (!unpacked.has(key)) {
    unpacked.set(key, { ...found, cells: Object.fromEntries(
      Object.entries(found.cells).map(([name, text]) => [name, integers(text)])) });
  }
  const unit = shown?.units[state.row];
  Object.assign(state, { layer, direction });
  shown = unpacked.get(key);
  state.row = Math.max(0, shown.units.indexOf(unit));
}

function value(name, frame, row = state.row) {
  if (frame < 0 || frame >= steps) return 0;  // before the first step all memory is empty
  if (name === "squashed") return Math.tanh(value("memory", frame, row));
  const scale = name === "memory" ? shown.high : 1;
  return shown.cells[name][frame * shown.units.length + row] / FULL * scale;
}

// ---- rows of the figure ---------------------------------------------------------------------
function head(title, symbol, meaning, colours, low, high) {
  const line = make("div", "head");
  line.append(make("b", "", title));
  if (symbol) line.append(make("b", symbol, symbol));
  line.append(make("span", "meaning", meaning));
  if (colours) {
    const scale = make("span", "scale");
    scale.append(low, heat(64, 1, colours, (x) => x / 63), high);
    line.append(scale);
  }
  track.append(line);
}

function row(className, height, names = [], unit = "") {
  const line = make("div", "row " + className), left = make("div", "names");
  const plot = make("div", "plot");
  if (unit) left.append(make("span", "unit", unit));
  for (const [text, share] of names) {
    const name = make("span", "", text);
    name.style.top = 100 * share + "%";
    left.append(name);
  }
  if (height) line.style.height = left.style.height = plot.style.height = height + "px";
  line.append(left, plot);
  track.append(line);
  return plot;
}

function thinned(texts, height) {  // names at the middle of their rows, where they fit
  const every = Math.max(1, Math.ceil(11 * texts.length / height));
  return texts.map((text, n) => [text, (n + 0.5) / texts.length]).filter((_, n) => n % every === 0);
}

function texts(className, entries, middle) {
  const plot = row("texts " + className);
  for (const [text, start, end] of entries) {
    if (!text.trim()) continue;
    const span = make("span", "", text);
    span.style.left = across(middle ? (start + end) / 2 : start);
    plot.append(span);
  }
}

function sound() {
  const mels = data.sound.hertz.length, height = 150, count = data.sound.frames;
  head("Sound", "", "log-mel energies, in dB below the loudest; above them the decoded words",
       "sound", number(data.sound.low, 0) + " dB", "0");
  texts("words", data.words, false);
  const place = (hertz) => {
    const above = data.sound.hertz.findIndex((f) => f >= hertz);
    return above < 1 ? null : 1 - (above - 0.5 + (hertz - data.sound.hertz[above - 1])
      / (data.sound.hertz[above] - data.sound.hertz[above - 1])) / mels;
  };
  const names = [250, 500, 1000, 2000, 4000, 8000, 16000].map((f) => [f / 1000, place(f)])
    .filter(([, share]) => share !== null);
  const plot = row("logmel", height, names, "kHz");
  const picture = heat(count, mels, "sound", (x, y) => soundLevels[x * mels + mels - 1 - y] / 255);
  picture.style.left = across(-data.sound.step / 2);  // feature frames are centred on their time
  picture.style.width = 100 * count * data.sound.step / seconds + "%";
  plot.append(picture);
  plot.dataset.mels = mels;
}

function cells(panel) {
  const signed = panel.kind !== "gate", memory = panel.kind === "memory";
  const high = memory ? shown.limit : 1, scale = (memory ? shown.high : 1) / FULL / high;
  const beyond = memory && shown.high > high;  // some values lie further out than the last colour
  const units = shown.units.length, height = clamp(4 * units, 88, 420);
  head(panel.title, panel.symbol, panel.meaning, signed ? "signed" : "share",
       (beyond ? "≤ " : "") + short(signed ? -high : 0), (beyond ? "≥ " : "") + short(high));
  const plot = row("cells", height, thinned(shown.units, height), "cell");
  const array = shown.cells[panel.name];
  plot.append(heat(steps, units, signed ? "signed" : "share", (x, y) =>
    signed ? (array[x * units + y] * scale + 1) / 2 : array[x * units + y] * scale));
  const marker = make("div", "marker");
  marker.style.height = 100 / units + "%";
  plot.append(marker);
  plot.dataset.units = units;
  markers.push(marker);
}

function chart(title, names, low, limit) {  // low: 0, or -1 for a scale around 0
  const line = make("div", "head"), unit = make("b");
  line.append(unit, make("span", "", title));
  for (const [symbol, , text] of names) line.append(make("span", symbol, text));
  track.append(line);
  const plot = row("chart", 84, [["", 0.04], ["", low ? 0.5 : 0.96], ["", 0.96]]);
  const ticks = plot.previousSibling.children;
  const svg = draw("svg", { viewBox: `0 0 ${steps} 1`, preserveAspectRatio: "none",
                            role: "img", "aria-label": title });
  for (const y of [0.04, low ? 0.5 : 0.96, 0.96]) {
    svg.append(draw("line", { x1: 0, x2: steps, y1: y, y2: y }));
  }
  const curves = names.map(([symbol, name]) => [draw("polyline", { class: symbol }), name]);
  svg.append(...curves.map(([curve]) => curve));
  plot.append(svg);
  charts.push(() => {
    const high = limit ?? Math.max(0.1, ...Array.from({ length: steps }, (_, t) =>
      Math.abs(value(names[0][1], t))));
    const y = (v) => (0.04 + 0.92 * (high - v) / (high - low * high)).toFixed(4);
    unit.textContent = `Cell ${shown.units[state.row]}`;
    [high, 0, low ? -high : 0].forEach((tick, n) => {
      ticks[n].textContent = short(tick);
    });
    for (const [curve, name] of curves) {
      curve.setAttribute("points", Array.from({ length: steps }, (_, t) =>
        `${t + 0.5},${y(value(name, t))}`).join(" "));
    }
  });
}

function posteriorPanel() {
  const count = data.labels.length, height = Math.max(14 * count, 60);
  head("CTC posteriors", "", "probability of each character and of the blank; above them the "
       + "decoded characters", "share", "0", "1");
  texts("characters", data.characters, true);
  row("labels", height, thinned(data.labels, height), "label").append(
    heat(steps, count, "share", (x, y) => posteriors[x * count + y] / FULL));
}

function axis(width) {
  const plot = row("axis");
  const step = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10].find((s) => s / seconds * width > 60) ?? 20;
  for (let n = 0; n * step < data.start + 0.985 * seconds; n++) {
    const tick = make("span", n || data.start < -data.step ? "" : "zero", String(Number((n * step).toFixed(2))));
    tick.style.left = across(n * step);
    plot.append(tick);
  }
  plot.append(make("span", "label", "time in seconds"));
}

function build() {
  const place = scroller?.scrollLeft ?? 0;
  scroller = make("div", "scroller");
  track = make("div", "track");
  markers = [];
  charts = [];
  const inner = $("figure").clientWidth;
  const width = Math.max(inner, inner * state.zoom, steps * STEP_PIXELS);
  track.style.width = width + "px";
  sound();
  for (const panel of data.panels) cells(panel);
  chart("its gates:", [["i", "input_gate", "i input"], ["f", "forget_gate", "f forget"],
                       ["o", "output_gate", "o output"]], 0, 1);
  chart("what it holds:", [["c", "memory", "c memory"]], -1);
  chart("what it could show, and shows:", [["c thin", "squashed", "tanh(c)"],
                                           ["h", "output", "h = o × tanh(c)"]], -1, 1);
  posteriorPanel();
  axis(width);
  const lines = make("div", "lines");
  for (const [, start] of data.words) {
    const guide = make("div", "guide");
    guide.style.left = across(start);
    lines.append(guide);
  }
  cursor = make("div", "cursor");
  cursor.style.width = 100 / steps + "%";
  lines.append(cursor);
  track.append(lines);
  scroller.append(track);
  $("figure").replaceChildren(scroller);
  for (const line of track.querySelectorAll(".head")) line.style.width = inner + "px";
  scroller.scrollLeft = place;
  $("which").textContent = shown.which + ".";
  charts.forEach((refresh) => refresh());
  move({});
}

// ---- the cursor -----------------------------------------------------------------------------
function move({ frame = state.frame, row = state.row, mel = state.mel }) {
  const other = row !== state.row;
  state.frame = clamp(frame, 0, steps - 1);
  state.row = clamp(row, 0, shown.units.length - 1);
  state.mel = clamp(mel, 0, data.sound.hertz.length - 1);
  cursor.style.left = 100 * state.frame / steps + "%";
  for (const marker of markers) marker.style.top = 100 * state.row / shown.units.length + "%";
  if (other) charts.forEach((refresh) => refresh());
  read();
}

function read() {
  const t = state.frame, count = data.labels.length;
  const best = [...data.labels.keys()].map((v) => [posteriors[t * count + v] / FULL, v])
    .sort((a, b) => b[0] - a[0]).slice(0, 2).filter(([share], n) => n === 0 || share > 0.005);
  const first = make("p"), middle = data.start + (t + 0.5) * data.step;
  const at = Math.round(middle / data.sound.step);
  const level = soundLevels[at * data.sound.hertz.length + state.mel] / 255;
  first.append(make("b", "", number(middle) + " s"), " · says ", ...best.flatMap(([share, v], n) => [
    n ? ", " : "", make("b", "", data.labels[v]), ` ${number(100 * share, 0)} %`]),
    at < 0 || at >= data.sound.frames ? " · outside the recording"
      : ` · sound at ${number(data.sound.hertz[state.mel] / 1000)} kHz: `
        + `${number(data.sound.low * (1 - level), 0)} dB`);
  const before = value("memory", state.direction === "forward" ? t - 1 : t + 1);
  const c = value("memory", t), second = make("p");
  const part = (symbol, name) => make("span", symbol, number(value(name, t)));
  second.append(make("b", "", `Cell ${shown.units[state.row]}`), ": ", make("span", "c", "c"),
    " = ", make("span", "f", "f"), " × c before + ", make("span", "i", "i"), " × ",
    make("span", "g", "g"), " = ", part("f", "forget_gate"), ` × ${bracket(before)} + `,
    part("i", "input_gate"), ` × ${bracket(value("candidate", t))} = `,
    make("span", "c", number(c)), ";  ", make("span", "h", "h"), " = ", make("span", "o", "o"),
    " × tanh(c) = ", part("o", "output_gate"), ` × ${bracket(Math.tanh(c))} = `,
    make("span", "h", number(value("output", t))));
  $("readout").replaceChildren(first, second);
}

const short = (x) => number(x, x.toFixed(1).endsWith("0") ? 0 : 1);
const bracket = (x) => x < 0 ? `(${number(x)})` : number(x);

function point(event) {
  const plot = event.target.closest?.(".plot");
  const box = (plot ?? track.querySelector(".plot")).getBoundingClientRect();
  if (!plot && (event.clientX < box.left || !event.target.closest?.(".track"))) return;
  const down = (event.clientY - box.top) / box.height;
  const place = { frame: Math.floor((event.clientX - box.left) / box.width * steps) };
  if (plot?.dataset.units) place.row = Math.floor(down * plot.dataset.units);
  if (plot?.dataset.mels) place.mel = Math.floor((1 - down) * plot.dataset.mels);
  move(place);
}

function reveal() {  // keep the cursor in sight when keys or the sound move it
  const box = scroller.getBoundingClientRect(), at = cursor.getBoundingClientRect();
  const gutter = track.querySelector(".names").offsetWidth;
  if (at.left < box.left + gutter || at.right > box.right) {
    scroller.scrollLeft += at.left - box.left - gutter - (box.width - gutter) / 3;
  }
}

// ---- controls -------------------------------------------------------------------------------
let player = null, play = null;

function follow(time) {
  if (!player.paused) {
    move({ frame: frameAt(time) });
    reveal();
  }
  play.textContent = player.paused ? "Listen" : "Pause";
}

function select(label, options, current, choice) {
  const box = make("select"), holder = make("label", "", label + " ");
  for (const option of options) box.append(make("option", "", option));
  box.value = current;
  box.addEventListener("change", () => choice(box.value));
  holder.append(box);
  $("tools").append(holder);
  return box;
}

function controls() {
  const layers = data.layers.map((_, n) => n + 1).filter((n) => Object.keys(data.layers[n - 1])
    .length);
  select("Layer", layers, state.layer, (layer) => { choose(Number(layer), state.direction);
                                                    build(); }).id = "layer";
  const directions = Object.keys(data.layers[state.layer - 1]);
  select("Direction", directions, state.direction, (direction) => { choose(state.layer, direction);
                                                                    build(); }).id = "direction";
  const button = (id, text, action, name) => {
    const node = makeButton(text, action, "", name);
    node.id = id;
    $("tools").append(node);
    return node;
  };
  const zoom = (factor) => { state.zoom = clamp(state.zoom * factor, 1, 64); build(); reveal(); };
  button("wider", "Time +", () => zoom(2), "Stretch time");
  button("narrower", "Time −", () => zoom(0.5), "Shrink time");
  if (data.mp3) {
    player = new Player("data:audio/mpeg;base64," + data.mp3);
    play = button("play", "Listen", () => player.toggle());
    player.watch(follow);
  }
}

$("figure").addEventListener("pointermove", (event) => {
  if (!player || player.paused) point(event);
});
$("figure").addEventListener("click", (event) => {
  point(event);
  if (player) player.audio.currentTime = beginning(state.frame);
});
$("figure").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: { frame: state.frame - 1 }, ArrowRight: { frame: state.frame + 1 },
                  ArrowUp: { row: state.row - 1 }, ArrowDown: { row: state.row + 1 } };
  if (event.key === " " && player) player.toggle();
  else if (event.key in moves) move(moves[event.key]);
  else return;
  event.preventDefault();
  reveal();
});
let drawnWidth = 0;
window.addEventListener("resize", () => {
  if ($("figure").clientWidth !== drawnWidth) build();
  drawnWidth = $("figure").clientWidth;
});

if (innerWidth < 640) document.querySelector("header details").open = false;
choose(state.layer, state.direction);
controls();
build();
scroller.scrollLeft = (data.span[0] - data.start) / seconds * track.offsetWidth;
drawnWidth = $("figure").clientWidth;
