// The page of `asr export --format html`: microphone or files to text, on this machine alone.
// engine.js does the work in a worker; this file only shows it.
const LONGEST = 60;  // seconds of a file that are recognised in one pass
const QUIET_AFTER = 0.8;  // seconds of pause that end a stretch of live speech
const rate = data.model.features.sample_rate;
const worker = new Worker(URL.createObjectURL(new Blob([data.engine], { type: "text/javascript" })));
const waiting = new Map(), total = { audio: 0, computing: 0 }, speed = make("p");
document.querySelector("footer").append(speed);
let serial = 0, live = null;

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
    const factor = total.computing / total.audio;
    document.documentElement.dataset.rtf = factor.toFixed(4);
    speed.textContent = `Real-time factor on this device: ${factor.toFixed(3)} (seconds of `
      + "computing for a second of sound).";
    return answer;
  });
}

const later = (words, seconds) => words.map((word) => ({ ...word, start: word.start + seconds,
  end: word.end + seconds }));

// The log-mel energies above, the probabilities of the labels below.
function pictureOf({ frames, posteriors }) {
  const features = data.model.features;
  const bands = features.kind === "mfcc" ? features.n_mfcc : features.n_mels;
  let low = Infinity, high = -Infinity;
  for (const v of frames.values) { low = Math.min(low, v); high = Math.max(high, v); }
  low = Math.max(low, high - 14);
  const sound = heat(frames.rows, bands, "sound", (t, y) =>
    (frames.values[t * frames.columns + bands - 1 - y] - low) / (high - low || 1));
  const labels = posteriors.columns - 1;
  const spoken = heat(posteriors.rows, labels, "share", (t, y) =>
    posteriors.values[t * posteriors.columns + 1 + y]);
  const both = make("canvas"), pen = both.getContext("2d");
  Object.assign(both, { width: Math.max(frames.rows, posteriors.rows), height: 150 });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(sound, 0, 0, both.width, 96);
  pen.drawImage(spoken, 0, 98, both.width, 52);
  return both;
}

// ---- Files ----

// Where a long recording is cut: at the quietest 25 ms of the last ten seconds of each minute.
function cuts(samples, from) {
  const places = [0], cell = Math.round(0.025 * from);
  while (samples.length - places.at(-1) > LONGEST * from) {
    const start = places.at(-1);
    let best = start + LONGEST * from, quietest = Infinity;
    for (let at = start + (LONGEST - 10) * from; at + cell < start + LONGEST * from; at += cell) {
      const level = decibels(samples.subarray(at, at + cell));
      if (level < quietest) { quietest = level; best = at + (cell >> 1); }
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
    sound = await decodeFile(file, rate);
  } catch (error) {
    take.fail("This browser cannot read that file as sound. Try WAV, FLAC, MP3, Ogg or M4A.");
    say("");
    return;
  }
  const places = cuts(sound.samples, sound.rate), before = { ...total }, words = [];
  const seconds = sound.samples.length / sound.rate;
  for (let k = 0; k + 1 < places.length; k++) {
    const begins = places[k] / sound.rate;
    say(`Recognising ${file.name}: ${Math.round(begins)} of ${Math.round(seconds)} s ...`);
    const answer = await recognise(sound.samples.slice(places[k], places[k + 1]), sound.rate);
    const found = later(answer.words, begins);
    words.push(...found);
    take.add(found);
    if (answer.frames) take.draw(pictureOf(answer), begins, answer.duration);
  }
  finish(take, words, sound.samples, sound.rate, before);
  say("");
}

function finish(take, words, samples, from, before) {
  take.finish(words, samples, from, samples.length / from);
  const audio = total.audio - before.audio, factor = (total.computing - before.computing) / audio;
  take.tell(`${take.duration.toFixed(1)} s${audio ? `, computed in ${factor.toFixed(3)} × that`
    : ""}`);
}

// ---- Microphone ----

async function startLive() {
  const here = { pieces: [], length: 0, from: 0, busy: false, seen: 0, words: [], stopping: false,
    before: { ...total } };
  here.microphone = await openMicrophone(rate, (piece) => {
    here.pieces.push(piece);
    here.length += piece.length;
    if (!here.stopping && here.take) step(here);
  }, () => live === here && stopLive());
  if (!here.microphone) return;
  here.take = new Take(`Microphone, ${timeOfDay()}`);
  live = here;
  showRecording(true);
  say("Listening ...");
}

// Recognise what was said since the last pause, whenever the worker is free.
async function step(here, last = false) {
  if (here.busy || (!last && here.length - here.seen < 0.3 * rate)) return;
  here.busy = true;
  here.seen = here.length;
  const begins = here.from / rate;
  here.pieces = [joined(here.pieces)];
  const answer = await recognise(here.pieces[0].slice(here.from), rate);
  const words = later(answer.words, begins), end = words.length ? words.at(-1).end - begins : 0;
  const over = words.length ? answer.duration - end > QUIET_AFTER || answer.duration > 30
    : answer.duration > 5;
  if (last || over) {
    here.words.push(...words);
    here.take.add(words);
    const keep = words.length ? end + QUIET_AFTER / 2 : answer.duration - 1;
    here.from += Math.floor(clamp(keep, 0, answer.duration) * rate);
  } else here.take.add([], words.map((word) => word.text).join(" "));
  if (answer.frames) here.take.draw(pictureOf(answer), begins, answer.duration);
  here.busy = false;
  if (here.stopping && !last) await endLive(here);
}

function stopLive() {
  const here = live;
  live = null;
  here.stopping = true;
  here.microphone.stop();
  showRecording(false);
  if (!here.busy) endLive(here);  // else the pass that runs comes to it
}

async function endLive(here) {
  await step(here, true);
  const samples = joined(here.pieces);
  finish(here.take, here.words, samples, rate, here.before);
  say("");
}

connectRecorder({ microphone: () => live ? stopLive() : startLive(), take: takeFile });
ready.then(() => { document.documentElement.dataset.ready = "yes"; say(""); });
