// The page of `asr serve`: files by POST /v1/audio/transcriptions, the microphone by the websocket
// /v1/stream (vosk-server's protocol). The server's answers are data: they become text, nothing else.
const RATE = 16000;  // of what is streamed, kept and played
const PIECE = RATE / 10;  // samples of a message
const LATE = 3;  // seconds of unanswered audio after which the page says so
let live = null, known = [], limits = {};  // models and limits, as /v1/settings tells them

const phrases = () => $("hot").value.split(/[,;\n]/).map((phrase) => phrase.trim())
  .filter(Boolean);

// One sentence of whatever went wrong.
function sentenceOf(status, body) {
  const message = body?.error?.message;
  return typeof message === "string" && message ? message.slice(0, 500)
    : `The server answered ${status} and gave no reason; its log has more.`;
}

async function ask(path, options) {
  let response, body = null;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Error("The server cannot be reached; see whether asr serve still runs.");
  }
  try {
    body = await response.json();
  } catch (error) {
    if (response.ok) throw new Error("The server's answer cannot be read.");
  }
  if (!response.ok) throw new Error(sentenceOf(response.status, body));
  return body;
}

const wordsOf = (list, sure) => (Array.isArray(list) ? list : []).map((word) => ({
  text: String(word.word), start: Number(word.start) || 0, end: Number(word.end) || 0,
  confidence: clamp(Number(word[sure] ?? 1) || 0, 0, 1) }));

// ---- Files ----

async function takeFile(file) {
  const take = new Take(file.name);
  if (file.size > limits.max_body) {
    const megabytes = (bytes) => `${(bytes / 1048576).toPrecision(3)} MiB`;
    take.fail(`The file has ${megabytes(file.size)}; this server takes `
      + `${megabytes(limits.max_body)} (asr serve --max-body).`);
    return;
  }
  say(`Sending ${file.name} ...`);
  take.tell("waiting for the server");
  const form = new FormData();
  form.append("model", $("model").value);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  if (phrases().length) form.append("prompt", phrases().join(", "));
  form.append("file", file);
  const decoded = decodeFile(file, RATE).catch(() => null);
  try {
    const answer = await ask("/v1/audio/transcriptions", { method: "POST", body: form });
    const sound = await decoded;
    finish(take, wordsOf(answer.words, "confidence"), sound?.samples ?? null, sound?.rate ?? RATE,
      Number(answer.duration) || 0);
    if (!sound) take.tell(`${take.duration.toFixed(1)} s; this browser cannot play the file`);
  } catch (error) {
    take.tell("");
    take.fail(error.message);
  }
  say("");
}

function finish(take, words, samples, rate, duration) {
  take.finish(words, samples, rate, samples ? samples.length / rate : duration);
  take.tell(`${take.duration.toFixed(1)} s`);
  if (samples) {
    const [width, height] = take.line.size;
    take.draw(spectrogram(samples, Math.min(width, 2000), height), 0, take.duration);
  }
}

// ---- Microphone ----

async function startLive() {
  const here = { pieces: [], held: [], length: 0, answered: 0, sent: [], words: [], failed: "",
    ended: false, open: false };
  live = here;  // a second press of the button stops what is starting
  showRecording(true);
  say("Waiting for the microphone ...");
  const microphone = await openMicrophone(RATE, (piece) => hear(here, piece),
    () => live === here && stopLive());
  if (!microphone || live !== here) {
    microphone?.stop();
    if (live === here) live = null;
    showRecording(false);
    return;
  }
  here.microphone = microphone;
  here.take = new Take(`microphone ${new Date().toISOString().slice(0, 10)} ${timeOfDay()}`);
  const address = new URL("/v1/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  here.socket = new WebSocket(address);
  here.socket.onopen = () => {
    here.open = true;
    const config = { sample_rate: RATE, words: 1 };
    if ($("model").value) config.model = $("model").value;
    if (phrases().length) config.hot_words = phrases();
    here.socket.send(JSON.stringify({ config }));
    send(here);
    say("Listening ...");
    if (here.ended) here.socket.send(JSON.stringify({ eof: 1 }));
  };
  here.socket.onmessage = ({ data: text }) => receive(here, text);
  here.socket.onclose = (event) => closed(here, event);
}

function hear(here, piece) {
  if (here.failed) return;
  here.pieces.push(piece);
  here.held.push(piece);
  here.length += piece.length;
  if (here.open) send(here);
}

function send(here, all = false) {
  const samples = joined(here.held);
  if (!samples.length || (samples.length < PIECE && !all)) return;
  here.held = [];
  if (here.socket.readyState !== WebSocket.OPEN) return;
  const pcm = toPcm(samples);  // little-endian on every machine with a browser
  here.socket.send(pcm.buffer);
  here.sent.push(samples.length);
  const late = here.sent.reduce((sum, count) => sum + count, 0) / RATE;
  say(late > LATE ? `The server is ${late.toFixed(0)} s behind ...` : "Listening ...");
}

function receive(here, text) {
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    here.failed = "The server's answer cannot be read.";
    here.socket.close();
    return;
  }
  here.sent.shift();  // one answer for each message of audio
  if (typeof answer.error === "string") here.failed = answer.error.slice(0, 500);
  else if (Array.isArray(answer.result)) {
    const words = wordsOf(answer.result, "conf");
    here.words.push(...words);
    here.take.add(words);
    here.take.tell(`${(here.length / RATE).toFixed(1)} s so far`);
  } else if (typeof answer.partial === "string") {
    here.take.add([], answer.partial, String(answer.partial_stable ?? ""));
  } else here.take.list.pending("");
}

// The button was pressed: no more sound; the server still says what it has.
function stopLive() {
  const here = live;
  live = null;
  here.ended = true;
  showRecording(false);
  if (!here.microphone) return;  // still waiting for it
  here.microphone.stop();
  if (here.open) {
    send(here, true);
    if (here.socket.readyState === WebSocket.OPEN) here.socket.send(JSON.stringify({ eof: 1 }));
  }
  say("Waiting for the last words ...");
}

function closed(here, event) {
  if (live === here) {
    live = null;
    showRecording(false);
    here.microphone.stop();
  }
  finish(here.take, here.words, joined(here.pieces), RATE, 0);
  if (!here.failed && event.code !== 1000) {
    here.failed = here.open ? event.reason || `The connection ended (${event.code}).`
      : "The server takes no stream now; try again in a moment.";
  }
  if (here.failed) here.take.fail(here.failed);
  say("");
}

// ---- What the server has ----

function showSettings() {
  const model = known.find((one) => one.id === $("model").value), rows = [];
  const walk = (name, value) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) walk(name ? `${name}.${key}` : key, inner);
      return;
    }
    const text = Array.isArray(value) ? value.slice(0, 40).join(" ")
      + (value.length > 40 ? ` … (${value.length})` : "") : String(value);
    rows.push(make("dt", "", name), make("dd", "", text || "–"));
    rows.at(-1).dir = "auto";
  };
  walk("", model ?? {});
  $("settings").replaceChildren(...rows);
  $("about").hidden = !rows.length;
}

async function start() {
  try {
    const { data: models } = await ask("/v1/models");
    $("model").replaceChildren(...models.map(({ id }) => make("option", "", id)));
    if (!models.length) throw new Error("The server has no model.");
  } catch (error) {
    say(error.message);
    return;
  }
  try {
    const told = await ask("/v1/settings");
    known = Array.isArray(told.models) ? told.models : [];
    if (known.some((one) => one.id === told.default)) $("model").value = told.default;
    limits = told.limits ?? {};
  } catch (error) {
    say("");  // the page works without
  }
  showSettings();
  document.documentElement.dataset.ready = "yes";
  say("");
}

$("model").addEventListener("change", showSettings);
connectRecorder({ microphone: () => live ? stopLive() : startLive(), take: takeFile });
start();
