// ---- rows -----------------------------------------------------------------------------------
const rows = data.rows.map(([id, speaker, seconds, snr, words, reference, systems, flag], index) =>
  ({ id, speaker, seconds, snr, words, reference, flag, index,
     systems: systems.map(([text, ops, s, d, i]) => ({ text, ops, s, d, i, errors: s + d + i })) }));
const two = data.systems.length === 2;
const wer = (row, k = 0) => row.words ? row.systems[k].errors / row.words : null;
const change = (row) => row.systems[1].errors - row.systems[0].errors;
const percent = (value) => value === null ? "–" : (100 * value).toFixed(1);
const columns = [
  { key: "id", name: "Utterance", value: (r) => r.id, text: true },
  { key: "speaker", name: "Speaker", value: (r) => r.speaker, text: true, wide: true },
  { key: "seconds", name: "Seconds", value: (r) => r.seconds, show: (v) => v === null ? "–"
      : v.toFixed(1), wide: true },
  { key: "snr", name: "SNR dB", value: (r) => r.snr, show: (v) => v === null ? "–"
      : v.toFixed(0), wide: true },
  { key: "words", name: "Words", value: (r) => r.words, wide: true },
].concat(two ? [
  { key: "a", name: "Errors " + data.systems[0], value: (r) => r.systems[0].errors },
  { key: "b", name: "Errors " + data.systems[1], value: (r) => r.systems[1].errors },
  { key: "change", name: "Change", value: change, show: (v) => (v > 0 ? "+" : "") + v },
] : [
  { key: "errors", name: "Errors", value: (r) => r.systems[0].errors },
  { key: "wer", name: "WER %", value: (r) => wer(r), show: percent },
]).filter((column) => rows.some((row) => column.value(row) !== null && column.value(row) !== ""));

const state = { key: data.show === "flagged" ? "order" : two ? "change" : "errors", down: !two, query: "", show: data.show ?? "all", page: 0,
                size: 25 };
let found = rows;

const shown = {
  all: () => true,
  errors: (row) => row.systems.some((system) => system.errors > 0),
  right: (row) => row.systems.every((system) => system.errors === 0),
  flagged: (row) => row.flag !== "",
  sound: (row) => row.index in data.clips,
  better: (row) => two && change(row) < 0,
  worse: (row) => two && change(row) > 0,
};

function haystack(row) {
  row.haystack ??= [row.id, row.speaker, row.reference, row.flag,
                    ...row.systems.map((system) => system.text)].join("\n").toLowerCase();
  return row.haystack;
}

function refresh() {
  const query = state.query.trim().toLowerCase();
  const column = columns.find((candidate) => candidate.key === state.key)
    ?? { value: () => 0 };  // the order of the file
  const sign = state.down ? -1 : 1;
  found = rows.filter((row) => shown[state.show](row) && (!query || haystack(row).includes(query)));
  found.sort((one, other) => {
    const a = column.value(one), b = column.value(other);
    if (a === b) return one.index - other.index;
    if (a === null || b === null) return a === null ? 1 : -1;
    return sign * (column.text ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  });
  state.page = Math.max(0, Math.min(state.page, Math.ceil(found.length / state.size) - 1));
  draw();
}

// ---- one utterance --------------------------------------------------------------------------
function alignment(row, system) {
  const line = make("div", "al");
  line.dir = "auto";
  const said = row.reference ? row.reference.split(" ") : [];
  const heard = system.text ? system.text.split(" ") : [];
  let r = 0, h = 0;
  for (const [, count, kind] of system.ops.matchAll(/(\d+)([=sdi])/g)) {
    for (let k = 0; k < Number(count); k++) {
      const word = make("span", "w " + (kind === "=" ? "e" : kind));
      const top = kind === "i" ? "+" : said[r], bottom = kind === "d" ? "–" : heard[h];
      if (kind === "s") word.title = `said “${top}”, heard “${bottom}”`;
      if (kind === "d") word.title = `missed “${top}”`;
      if (kind === "i") word.title = `invented “${bottom}”`;
      word.append(make("bdi", "r", top));
      if (kind !== "=") word.append(make("bdi", "h", bottom));
      line.append(word, " ");
      if (kind !== "i") r++;
      if (kind !== "d") h++;
    }
  }
  if (!system.ops) line.append(make("span", "none", "(nothing said, nothing heard)"));
  return line;
}

function utterance(row, brief = false) {
  const body = make("tbody", "utt");
  if (!brief) body.tabIndex = 0;
  body.dataset.index = row.index;
  const head = make("tr");
  if (brief) {
    const name = make("td", "id");
    name.append(make("bdi", "", row.id));
    if (row.flag) name.append(make("span", "flag", row.flag));
    const { s, d, i, errors } = row.systems[0];
    head.append(name, make("td", "sum", errors ? `S ${s} D ${d} I ${i} of ${row.words}`
                                               : `no error in ${row.words}`));
  } else for (const column of columns) {
    const value = column.value(row);
    const cell = make("td", (column.text ? "" : "n ") + (column.wide ? "wide" : "")
                      + (column.key === "id" ? " id" : ""));
    cell.append(make("bdi", "", column.show ? column.show(value) : value));
    if (column.key === "change" && value) cell.classList.add(value < 0 ? "better" : "worse");
    if (column.key === "id" && row.flag) cell.append(make("span", "flag", row.flag));
    head.append(cell);
  }
  body.append(head);
  const line = make("tr", "text"), cell = make("td");
  cell.colSpan = brief ? 2 : columns.length;
  row.systems.forEach((system, k) => {
    if (two) cell.append(make("span", "sys", data.systems[k]));
    cell.append(alignment(row, system));
  });
  if (row.index in data.clips) {
    const play = make("button", "play", "Listen");
    play.setAttribute("aria-label", "Listen to " + row.id);
    play.addEventListener("click", () => sound(row, cell, play));
    cell.append(play);
  }
  line.append(cell);
  body.append(line);
  return body;
}

function draw() {
  const first = state.page * state.size;
  const list = $("list");
  list.querySelectorAll("tbody").forEach((body) => body.remove());
  list.append(...found.slice(first, first + state.size).map((row) => utterance(row)));
  for (const head of list.querySelectorAll("th")) {
    if (head.dataset.key === state.key) {
      head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    } else head.removeAttribute("aria-sort");
  }
  const pages = Math.max(1, Math.ceil(found.length / state.size));
  $("count").textContent = found.length
    ? `${(first + 1).toLocaleString("en")}–${Math.min(found.length, first + state.size)
        .toLocaleString("en")} of ${found.length.toLocaleString("en")} utterances`
    : "No utterance matches.";
  for (const id of ["first", "previous"]) $(id).disabled = state.page === 0;
  for (const id of ["next", "last"]) $(id).disabled = state.page >= pages - 1;
}

// ---- sound and spectrogram ------------------------------------------------------------------
async function sound(row, cell, play) {
  const open = cell.querySelector(".sound");
  if (open) {
    open.remove();
    play.textContent = "Listen";
    return;
  }
  const box = make("div", "sound"), player = make("audio"), canvas = make("canvas");
  player.controls = true;
  player.src = "data:audio/mpeg;base64," + data.clips[row.index];
  canvas.setAttribute("aria-label", "Spectrogram, 0 to 8 kHz");
  canvas.setAttribute("role", "img");
  box.append(player, canvas);
  cell.append(box);
  play.textContent = "Close";
  player.play().catch(() => {});  // some browsers want another click
  try {
    const bytes = Uint8Array.from(atob(data.clips[row.index]), (c) => c.charCodeAt(0));
    const context = new OfflineAudioContext(1, 1, 16000);
    const samples = (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
    spectrogram(canvas, player, samples, data.words[row.index] ?? []);
  } catch (error) {
    canvas.replaceWith(make("p", "soft", "No spectrogram: this browser cannot decode the clip."));
  }
}

function spectrogram(canvas, player, samples, words) {
  const scale = window.devicePixelRatio || 1, strip = words.length ? 22 : 0;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(170 * scale);
  canvas.width = width;
  canvas.height = height;
  const picture = canvas.getContext("2d"), size = 512, half = size / 2;
  const tall = height - Math.round(strip * scale), seconds = samples.length / 16000;
  const image = picture.createImageData(width, tall);
  const window_ = Float32Array.from({ length: size }, (_, n) =>
    0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));
  const re = new Float32Array(size), im = new Float32Array(size);
  for (let x = 0; x < width; x++) {
    const start = Math.round(x / width * samples.length) - half;
    for (let n = 0; n < size; n++) re[n] = (samples[start + n] ?? 0) * window_[n];
    im.fill(0);
    fourier(re, im);
    for (let y = 0; y < tall; y++) {
      const bin = Math.floor((1 - (y + 1) / tall) * half);
      const decibel = 10 * Math.log10(re[bin] * re[bin] + im[bin] * im[bin] + 1e-9);
      const [r, g, b] = colour(Math.max(0, Math.min(1, (decibel + 45) / 75)));
      image.data.set([r, g, b, 255], 4 * (y * width + x));
    }
  }
  const style = getComputedStyle(document.documentElement);
  const paint = () => {
    picture.putImageData(image, 0, 0);
    picture.font = `${12 * scale}px system-ui, sans-serif`;
    if (strip) {
      picture.fillStyle = style.getPropertyValue("--card");
      picture.fillRect(0, tall, width, height - tall);
    }
    for (const [text, start, end] of words) {
      const left = start / seconds * width, right = end / seconds * width;
      const active = player.currentTime >= start && player.currentTime < end;
      picture.fillStyle = style.getPropertyValue(active ? "--accent" : "--line");
      picture.fillRect(left, tall, Math.max(1, right - left - 1), height - tall);
      picture.fillStyle = style.getPropertyValue(active ? "--page" : "--ink");
      picture.save();
      picture.beginPath();
      picture.rect(left, tall, right - left, height - tall);
      picture.clip();
      picture.fillText(text, left + 3 * scale, height - 6 * scale);
      picture.restore();
    }
    picture.fillStyle = "#ffffff";
    picture.fillRect(player.currentTime / seconds * width, 0, 2 * scale, tall);
    if (!player.paused) requestAnimationFrame(paint);
  };
  canvas.addEventListener("click", (event) => {
    player.currentTime = event.offsetX / canvas.clientWidth * seconds;
  });
  for (const name of ["play", "pause", "seeked", "ended"]) player.addEventListener(name, paint);
  canvas.dataset.drawn = "yes";
  paint();
}

function fourier(re, im) {  // radix 2, in place
  const size = re.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    const angle = -2 * Math.PI / length;
    for (let start = 0; start < size; start += length) {
      for (let k = 0; k < length / 2; k++) {
        const c = Math.cos(angle * k), s = Math.sin(angle * k);
        const a = start + k, b = a + length / 2;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y;
        re[a] += x; im[a] += y;
      }
    }
  }
}

const STOPS = [[13, 8, 45], [87, 22, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]];
function colour(value) {
  const place = value * (STOPS.length - 1), low = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[low].map((from, k) => from + (STOPS[low + 1][k] - from) * (place - low));
}

// ---- controls -------------------------------------------------------------------------------
function sortBy(key) {
  const column = columns.find((candidate) => candidate.key === key);
  state.down = state.key === key ? !state.down : !column.text;
  state.key = key;
  state.page = 0;
  refresh();
}

function turn(page) {
  state.page = page;
  refresh();
  $("utterances").scrollIntoView();
}

function setUp() {
  const head = make("tr");
  for (const column of columns) {
    const cell = make("th", (column.text ? "" : "n ") + (column.wide ? "wide" : ""));
    cell.scope = "col";
    cell.dataset.key = column.key;
    const button = make("button", "", column.name);
    button.addEventListener("click", () => sortBy(column.key));
    cell.append(button);
    head.append(cell);
  }
  $("list").tHead.append(head);
  for (const option of [...$("show").options]) {
    if (option.value !== "all" && !rows.some(shown[option.value])) option.remove();
  }
  $("show").value = state.show;
  if ($("show").selectedIndex < 0) $("show").value = state.show = "all";
  $("search").addEventListener("input", (event) => {
    state.query = event.target.value;
    state.page = 0;
    refresh();
  });
  $("show").addEventListener("change", (event) => {
    state.show = event.target.value;
    state.page = 0;
    refresh();
  });
  $("size").addEventListener("change", (event) => {
    state.size = Number(event.target.value);
    refresh();
  });
  $("first").addEventListener("click", () => turn(0));
  $("previous").addEventListener("click", () => turn(state.page - 1));
  $("next").addEventListener("click", () => turn(state.page + 1));
  $("last").addEventListener("click", () => turn(Infinity));
  for (const [name, indices] of Object.entries(data.examples)) {
    const list = $("examples-" + name);
    if (list) list.append(...indices.map((index) => utterance(rows[index], true)));
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA|AUDIO)$/.test(event.target.tagName);
  if (event.key === "Escape" && event.target === $("search")) $("search").blur();
  if (typing) return;
  const bodies = [...$("list").querySelectorAll("tbody")];
  const here = bodies.indexOf(document.activeElement?.closest("tbody"));
  const actions = {
    "/": () => $("search").focus(),
    j: () => bodies[Math.min(bodies.length - 1, here + 1)]?.focus(),
    k: () => bodies[Math.max(0, here - 1)]?.focus(),
    n: () => $("next").disabled || turn(state.page + 1),
    p: () => $("previous").disabled || turn(state.page - 1),
    Enter: () => event.target.tagName === "TBODY" && event.target.querySelector(".play")?.click(),
  };
  if (event.key in actions && !(event.key === "Enter" && event.target.tagName !== "TBODY")) {
    event.preventDefault();
    actions[event.key]();
  }
});

setUp();
refresh();
