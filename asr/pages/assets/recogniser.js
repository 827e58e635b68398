// The page of `asr export --format html`: microphone or files to text, on this machine alone.
// engine.js does the work in a worker; this file only shows it.
const LONGEST = 60;  // seconds of a file that are recognised in one pass
const QUIET_AFTER = 0.8;  // seconds of pause that end a stretch of live speech
const rate = data.model.features.sample_rate;
const worker = new Worker(URL.createObjectURL(new Blob([data.engine], { type: "text/javascript" })));
const waiting = new Map();
const takes = [];
let serial = 0, total = { audio: 0, computing: 0 }, player = null, playing = null, live = null;

const ready = new Promise((resolve) => {
  worker.onmessage = ({ data: answer }) => {
    if (answer.ready) return resolve();
    waiting.get(answer.key)(answer);
    waiting.delete(answer.key);
  };
});
worker.onerror = (event) => say(`The recogniser stopped: ${event.message}`);
worker.postMessage({ model: data.model });

function recognise(samples, from) {
  const key = ++serial;
  return ready.then(() => new Promise((resolve) => {
    waiting.set(key, resolve);
    worker.postMessage({ samples, rate: from, key });
  })).then((answer) => {
    total.audio += answer.duration;
    total.computing += answer.seconds;
    document.documentElement.dataset.rtf = (total.computing / total.audio).toFixed(4);
    return answer;
  });
}

function say(text) { $("state").textContent = text; }

const clock = (seconds, comma = ".") => {
  const ms = Math.round(seconds * 1000), two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:`
    + `${two(Math.floor(ms / 1000) % 60)}${comma}${String(ms % 1000).padStart(3, "0")}`;
};

// ---- One recording on the page ----

class Take {
  constructor(name) {
    Object.assign(this, { name, words: [], samples: new Float32Array(0), frames: null,
      posteriors: null, offset: 0, shown: 0 });
    takes.push(this);
    this.card = make("article", "card take");
    const head = make("h3", "", name);
    this.meta = make("span", "meta");
    head.append(this.meta);
    this.text = make("div", "words");
    this.text.setAttribute("role", "status");
    this.text.setAttribute("aria-live", "polite");
    this.text.dir = "auto";
    this.canvas = make("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Log-mel spectrogram above, probabilities of the "
      + "letters below. Click to listen from there.");
    this.canvas.onclick = (event) => this.play(
      this.offset + event.offsetX / this.canvas.clientWidth * this.shown);
    this.tools = make("div", "tools");
    const listen = make("button", "play", "Listen");
    listen.onclick = () => this.play(0);
    this.tools.append(listen, ...["txt", "srt", "json"].map((kind) => {
      const button = make("button", "", kind);
      button.setAttribute("aria-label", `Download as ${kind}`);
      button.onclick = () => this.download(kind);
      return button;
    }));
    this.tools.hidden = true;
    this.card.append(head, this.text, this.canvas, this.tools);
    $("takes").prepend(this.card);
  }

  show(words, pending = []) {
    const buttons = [...words, ...pending].map((word) => {
      const button = make("button", word.confidence < 0.6 ? "poor" : word.confidence < 0.85
        ? "fair" : "", word.text);
      const sure = `${Math.round(100 * word.confidence)} % sure`;
      button.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, ${sure}`;
      button.setAttribute("aria-label", `${word.text}, ${sure}, listen`);
      button.onclick = () => this.play(word.start, word.end);
      return button;
    });
    this.text.replaceChildren(...(buttons.length ? buttons : [make("span", "none", "no words")]));
  }

  draw(frames, posteriors, offset, seconds) {
    Object.assign(this, { frames, posteriors, offset, shown: seconds });
    const width = this.canvas.width = Math.max(300, this.canvas.clientWidth);
    const height = this.canvas.height = 150, context = this.canvas.getContext("2d");
    if (!frames) return;
    const style = getComputedStyle(document.documentElement);
    const rgb = (name) => style.getPropertyValue(name).trim().match(/\w\w/g)
      .map((part) => parseInt(part, 16));
    const paper = rgb("--card"), ink = rgb("--ink"), accent = rgb("--accent");
    const image = context.createImageData(width, height), top = 96;
    const bands = Math.min(frames.columns, data.model.features.kind === "mfcc"
      ? data.model.features.n_mfcc : data.model.features.n_mels);
    let low = Infinity, high = -Infinity;
    for (const v of frames.values) { low = Math.min(low, v); high = Math.max(high, v); }
    low = Math.max(low, high - 14);
    for (let x = 0; x < width; x++) {
      const t = Math.min(frames.rows - 1, Math.floor(x / width * frames.rows));
      const u = Math.min(posteriors.rows - 1, Math.floor(x / width * posteriors.rows));
      for (let y = 0; y < height; y++) {
        let share, colour;
        if (y < top) {
          const band = bands - 1 - Math.floor(y / top * bands);
          share = (frames.values[t * frames.columns + band] - low) / (high - low || 1);
          colour = ink;
        } else {
          const label = 1 + Math.floor((y - top) / (height - top) * (posteriors.columns - 1));
          share = posteriors.values[u * posteriors.columns + label];
          colour = accent;
        }
        share = Math.min(Math.max(share, 0), 1);
        const at = 4 * (y * width + x);
        for (let c = 0; c < 3; c++) image.data[at + c] = paper[c] + (colour[c] - paper[c]) * share;
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  finish(samples, from) {
    Object.assign(this, { samples, rate: from });
    this.tools.hidden = false;
    const rtf = Number(document.documentElement.dataset.rtf);
    this.meta.textContent = `${(samples.length / from).toFixed(1)} s, computed in `
      + `${rtf.toFixed(2)} of the time it lasts`;
  }

  play(start, end) {
    player ??= new AudioContext();
    playing?.stop();
    const buffer = player.createBuffer(1, this.samples.length, Math.max(this.rate, 3000));
    buffer.copyToChannel(this.samples, 0);
    playing = player.createBufferSource();
    playing.buffer = buffer;
    playing.connect(player.destination);
    playing.start(0, Math.max(start, 0), end ? Math.max(end - start, 0.05) : undefined);
  }

  download(kind) {
    const text = this.words.map((word) => word.text).join(" ");
    let content = text + "\n";
    if (kind === "json") {
      content = JSON.stringify({ text, duration: this.samples.length / this.rate,
        words: this.words }, null, 1);
    } else if (kind === "srt") {
      const cues = [];
      for (const word of this.words) {
        const cue = cues[cues.length - 1];
        if (cue && cue.text.length + word.text.length < 42 && word.end - cue.start < 6) {
          cue.text += ` ${word.text}`; cue.end = word.end;
        } else cues.push({ ...word });
      }
      content = cues.map((cue, k) => `${k + 1}\n${clock(cue.start, ",")} --> `
        + `${clock(cue.end, ",")}\n${cue.text}\n`).join("\n");
    }
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
    link.download = `${this.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_")}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

// ---- Files ----

// PCM and float WAV at its own rate, so that no browser's resampler is in the way; else null.
function readWav(buffer) {
  const view = new DataView(buffer);
  const tag = (at) => at + 4 <= view.byteLength ? String.fromCharCode(
    ...new Uint8Array(buffer, at, 4)) : "";
  if (tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength;) {
    const size = Math.min(view.getUint32(at + 4, true), view.byteLength - at - 8);
    if (tag(at) === "fmt ") {
      format = { kind: view.getUint16(at + 8, true), channels: view.getUint16(at + 10, true),
        rate: view.getUint32(at + 12, true), bits: view.getUint16(at + 22, true) };
      if (format.kind === 0xfffe && size >= 26) format.kind = view.getUint16(at + 32, true);
    } else if (tag(at) === "data" && format) {
      const { kind, channels, bits } = format, bytes = bits / 8;
      const read = kind === 3 && bits === 32 ? (p) => view.getFloat32(p, true)
        : kind === 1 && bits === 16 ? (p) => view.getInt16(p, true) / 32768
        : kind === 1 && bits === 24 ? (p) => (view.getInt8(p + 2) * 65536
          + view.getUint16(p, true)) / 8388608
        : kind === 1 && bits === 32 ? (p) => view.getInt32(p, true) / 2147483648
        : kind === 1 && bits === 8 ? (p) => (view.getUint8(p) - 128) / 128 : null;
      if (!read || !channels) return null;
      const samples = new Float32Array(Math.floor(size / bytes / channels));
      for (let i = 0; i < samples.length; i++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) sum += read(at + 8 + (i * channels + c) * bytes);
        samples[i] = sum / channels;
      }
      return { samples, rate: format.rate };
    }
    at += 8 + size + size % 2;
  }
  return null;
}

async function decode(file) {
  const buffer = await file.arrayBuffer(), wav = readWav(buffer);
  if (wav) return wav;
  const audio = await new OfflineAudioContext(1, 1, Math.max(rate, 3000)).decodeAudioData(buffer);
  const samples = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++) {
    audio.getChannelData(c).forEach((v, i) => { samples[i] += v / audio.numberOfChannels; });
  }
  return { samples, rate: audio.sampleRate };
}

// Where a long recording is cut: at the quietest 25 ms of the last ten seconds of each minute.
function cuts(samples, from) {
  const places = [0], cell = Math.round(0.025 * from);
  while (samples.length - places[places.length - 1] > LONGEST * from) {
    const start = places[places.length - 1];
    let best = start + LONGEST * from, quietest = Infinity;
    for (let at = start + (LONGEST - 10) * from; at + cell < start + LONGEST * from; at += cell) {
      let power = 0;
      for (let i = at; i < at + cell; i++) power += samples[i] * samples[i];
      if (power < quietest) { quietest = power; best = at + (cell >> 1); }
    }
    places.push(best);
  }
  return [...places, samples.length];
}

async function takeFile(file) {
  const take = new Take(file.name);
  say(`Reading ${file.name} ...`);
  let sound;
  try {
    sound = await decode(file);
  } catch (error) {
    take.text.replaceChildren(make("span", "none",
      "This browser cannot read that file as sound. Try WAV, FLAC, MP3, Ogg or M4A."));
    take.canvas.hidden = true;
    say("");
    return;
  }
  const places = cuts(sound.samples, sound.rate);
  for (let k = 0; k + 1 < places.length; k++) {
    const begins = places[k] / sound.rate;
    say(`Recognising ${file.name}: ${Math.round(begins)} of `
      + `${Math.round(sound.samples.length / sound.rate)} s ...`);
    const answer = await recognise(sound.samples.slice(places[k], places[k + 1]), sound.rate);
    take.words.push(...answer.words.map((word) => ({ ...word, start: word.start + begins,
      end: word.end + begins })));
    take.show(take.words);
    take.draw(answer.frames, answer.posteriors, begins, answer.duration);
  }
  take.finish(sound.samples, sound.rate);
  say("");
}

let files = Promise.resolve();
function takeFiles(list) {
  for (const file of list) files = files.then(() => takeFile(file));
  return files;
}

// ---- Microphone ----

async function startLive() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1,
      echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch (error) {
    say("No microphone: allow it in the browser, or drop a file.");
    return;
  }
  const context = new AudioContext();
  // Not an AudioWorklet: a page that is opened as a file may not load a module from its own text.
  const node = context.createScriptProcessor(2048, 1, 1);
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination);  // silent: nothing is written into its output
  const started = new Date().toTimeString().slice(0, 8);
  live = { stream, context, node, chunks: [], length: 0, from: 0, busy: false, heard: 0,
    take: new Take(`Microphone, ${started}`), words: [], stopping: false };
  node.onaudioprocess = ({ inputBuffer }) => {
    if (!live || live.stopping) return;
    const chunk = inputBuffer.getChannelData(0).slice();
    live.chunks.push(chunk);
    live.length += chunk.length;
    let power = 0;
    for (const v of chunk) power += v * v;
    const decibel = 10 * Math.log10(power / chunk.length + 1e-10);
    $("level").value = Math.max($("level").value * 0.9, Math.min(1, (decibel + 60) / 55));
    step();
  };
  $("record").setAttribute("aria-pressed", "true");
  $("record").textContent = "Stop";
  say("Listening ...");
}

function recorded(from) {
  const all = new Float32Array(live.length);
  let at = 0;
  for (const chunk of live.chunks) { all.set(chunk, at); at += chunk.length; }
  return all.subarray(from);
}

// Recognise what was said since the last pause, whenever the worker is free.
async function step(last = false) {
  const here = live, sampleRate = here.context.sampleRate;
  if (here.busy || (!last && here.length - here.heard < 0.3 * sampleRate)) return;
  here.busy = true;
  here.heard = here.length;
  const begins = here.from / sampleRate;
  const answer = await recognise(recorded(here.from).slice(), sampleRate);
  const words = answer.words.map((word) => ({ ...word, start: word.start + begins,
    end: word.end + begins }));
  const end = words.length ? words[words.length - 1].end - begins : 0;
  const over = words.length ? answer.duration - end > QUIET_AFTER || answer.duration > 30
    : answer.duration > 5;
  if (last || over) {
    here.take.words.push(...words);
    const keep = words.length ? end + QUIET_AFTER / 2 : answer.duration - 1;
    here.from += Math.floor(Math.max(0, Math.min(keep, answer.duration)) * sampleRate);
  }
  here.take.show(here.take.words, last || over ? [] : words);
  if (answer.frames) here.take.draw(answer.frames, answer.posteriors, begins, answer.duration);
  here.busy = false;
  if (here.stopping && !last) await stopLive();
}

async function stopLive() {
  const here = live;
  here.stopping = true;
  here.node.disconnect();
  here.stream.getTracks().forEach((track) => track.stop());
  $("record").setAttribute("aria-pressed", "false");
  $("record").textContent = "Speak";
  $("level").value = 0;
  if (here.busy) return;  // the pass that runs comes back here
  await step(true);
  here.take.finish(recorded(0).slice(), here.context.sampleRate);
  here.context.close();
  live = null;
  say("");
}

$("record").addEventListener("click", () => live ? stopLive() : startLive());
$("file").addEventListener("change", (event) => takeFiles(event.target.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") takeFiles(event.dataTransfer.files);
  });
}
const redraw = () => takes.forEach((take) => take.draw(take.frames, take.posteriors, take.offset,
  take.shown));
$("theme").addEventListener("click", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", redraw);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") playing?.stop();
  if (event.key === "r" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) $("record").click();
});
ready.then(() => { document.documentElement.dataset.ready = "yes"; say(""); });
