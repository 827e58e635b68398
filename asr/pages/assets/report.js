// ---- rows -----------------------------------------------------------------------------------
const rows = data.rows.map(
  ([id, speaker, seconds, snr, words, reference, systems, flag, written], index) =>
    ({ id, speaker, seconds, snr, words, reference, flag, index, written: written ?? "",
       systems: systems.map(([text, ops, s, d, i, given]) =>
         ({ text, ops, s, d, i, errors: s + d + i, written: given ?? "" })) }));
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

const state = { key: data.show === "flagged" ? "order" : two ? "change" : "errors", down: !two,
                query: "", show: data.show ?? "all", page: 0, size: 25 };
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
  row.haystack ??= [row.id, row.speaker, row.reference, row.written, row.flag,
                    ...row.systems.flatMap((system) => [system.text, system.written])]
    .join("\n").toLowerCase();
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

// The texts as their files have them, where they are compared in another form.
function asWritten(row) {
  const lines = [["said", row.written], ...row.systems.map((system, k) =>
    [two ? data.systems[k] : "heard", system.written])].filter(([, text]) => text);
  if (!lines.length) return null;
  const box = make("p", "written");
  box.append(make("span", "sys", "as written"));
  for (const [who, text] of lines) {
    const line = make("bdi", "", text);
    line.dir = "auto";
    box.append(make("span", "soft", who + ": "), line, " ");
  }
  return box;
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
  const written = asWritten(row);
  if (written) cell.append(written);
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
  const box = make("div", "sound"), player = new Player("data:audio/mpeg;base64,"
    + data.clips[row.index]);
  const line = new Timeline(player, "Spectrogram, 0 to 8 kHz; a click listens from there", 150);
  box.append(player.audio, line.canvas);
  cell.append(box);
  play.textContent = "Close";
  player.play();
  try {
    const context = new OfflineAudioContext(1, 1, 16000);
    const bytes = bytesOf(data.clips[row.index]);
    const samples = (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
    const words = (data.words[row.index] ?? []).map(([text, start, end]) => ({ text, start, end }));
    line.show(spectrogram(samples, ...line.size), words, 0, samples.length / 16000);
  } catch (error) {
    line.canvas.replaceWith(make("p", "soft",
      "No spectrogram: this browser cannot decode the clip."));
  }
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
