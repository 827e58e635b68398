"use strict";
// A transcript as the content of a file. The cues are those of asr/transcript/subtitles.py, rule by
// rule; tests/pages/test_scripts.py compares the two. Runs in a page and in Node.
const RULES = { lines: 2, lineCharacters: 42, minSeconds: 1, maxSeconds: 7, perSecond: 17,
  gap: 2 / 25, pause: 1 };
const BREAK_BEFORE = new Set(`and but or nor so because that which who when where while if although
  though und aber oder denn sondern weil dass daß wenn obwohl ob der die das welche während et mais
  ou donc car que qui quand si parce lorsque y pero o porque cuando aunque`.split(/\s+/));
const NOT_AFTER = new Set(`a an the of in on at to for with from by my your his her its our their ein
  eine einen einem einer der die das den dem des im am zum zur von mit für in an auf un une le la les
  de du des à au aux el los las una`.split(/\s+/));
const CLAUSE_ENDS = ",;:.!?…،؛。、！？";

const clock = (seconds, separator = ".") => {
  const ms = Math.round(seconds * 1000), two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:`
    + `${two(Math.floor(ms / 1000) % 60)}${separator}${String(ms % 1000).padStart(3, "0")}`;
};

// Without control characters, terminal codes and overrides of direction; white space as spaces.
const plainText = (text) => text.replace(/\u001b\[[0-?]*[ -/]*[@-~]/g, "")
  .replace(/[\t\n\v\f\r\u0085\u2028\u2029]+/g, " ").replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "");

function cuesOf(words, duration = 0, rules = RULES) {
  const groups = [], stretches = [];
  for (const piece of piecesOf(words, rules)) {
    const last = stretches.at(-1)?.at(-1);
    if (!last || piece.start - last.end > rules.pause) stretches.push([]);
    stretches.at(-1).push(piece);
  }
  for (const stretch of stretches) groups.push(...bestCuts(stretch, rules));
  const starts = [];
  for (const group of groups) {
    const earliest = starts.length ? starts.at(-1) + rules.minSeconds + rules.gap : 0;
    starts.push(Math.max(group[0].start, earliest));
  }
  return groups.map((group, k) => {
    const start = starts[k], text = linesOf(group, rules), spoken = group.at(-1).end;
    const limit = k + 1 < groups.length ? starts[k + 1] - rules.gap
      : Math.max(duration, spoken, start + rules.minSeconds);
    const read = [...text].length / rules.perSecond;
    const end = Math.max(spoken, start + Math.max(rules.minSeconds, read));
    return { start, end: Math.min(end, limit, start + rules.maxSeconds), text };
  });
}

function piecesOf(words, rules) {  // a word longer than a line is divided
  return words.flatMap((word) => {
    const letters = [...word.text.split(/\s+/u).filter(Boolean).join(" ")];
    const count = Math.ceil(letters.length / rules.lineCharacters);
    const step = (word.end - word.start) / count;
    return Array.from({ length: count }, (_, k) => ({ joined: k > 0,
      text: letters.slice(k * rules.lineCharacters, (k + 1) * rules.lineCharacters).join(""),
      start: word.start + step * k, end: word.start + step * (k + 1) }));
  }).map((piece) => ({ ...piece, size: [...piece.text].length }));
}

function bestCuts(pieces, rules) {  // the cheapest way to cut a stretch into cues that fit
  const cost = [0], from = [0], groups = [];
  for (let stop = 1; stop <= pieces.length; stop++) {
    let characters = 0;
    cost[stop] = Infinity; from[stop] = 0;
    for (let start = stop - 1; start >= 0; start--) {
      characters += pieces[start].size + (pieces[start].joined ? 0 : 1);
      if (characters > rules.lines * (rules.lineCharacters + 1) + 1) break;
      const price = cost[start] + priceOf(pieces, start, stop, rules);
      if (price < cost[stop]) { cost[stop] = price; from[stop] = start; }
    }
  }
  for (let stop = pieces.length; stop; stop = from[stop]) {
    groups.unshift(pieces.slice(from[stop], stop));
  }
  return groups;
}

function priceOf(pieces, start, stop, rules) {
  const group = pieces.slice(start, stop), follows = pieces[stop];
  const first = group[0].start, spoken = group.at(-1).end - first;
  if (group.length > 1 && (spoken > rules.maxSeconds || !linesOf(group, rules))) return Infinity;
  const characters = group.reduce((sum, p) => sum + p.size + (p.joined ? 0 : 1), -1);
  const room = follows ? follows.start - first - rules.gap : rules.maxSeconds;
  const read = Math.max(rules.minSeconds, characters / rules.perSecond);
  const shown = Math.min(Math.max(spoken, read), Math.max(room, 0.01), rules.maxSeconds);
  let price = 1 + 20 * Math.max(0, rules.minSeconds - shown);
  price += 0.3 * Math.max(0, characters / Math.max(shown, 0.1) - rules.perSecond);
  if (follows) {
    price += 1 - breakQuality(group.at(-1), follows);
    price += Math.max(0, 1 - characters / rules.lineCharacters);  // not one word alone
  }
  return price;
}

function breakQuality(last, following) {  // -1 .. 1
  if (following.joined) return -1;
  if (CLAUSE_ENDS.includes([...last.text].at(-1))) return 1;
  let quality = Math.min(0.8, 2 * Math.max(0, following.start - last.end));
  if (BREAK_BEFORE.has(following.text.toLowerCase())) quality = Math.max(quality, 0.5);
  return quality - (NOT_AFTER.has(last.text.toLowerCase()) ? 0.8 : 0);
}

const lineOf = (group) => group.map((p) => (p.joined ? "" : " ") + p.text).join("").trim();

function linesOf(group, rules) {  // "" if they do not fit
  const whole = lineOf(group);
  if ([...whole].length <= rules.lineCharacters) return whole;
  let best = "", price = Infinity;
  for (let place = 1; rules.lines > 1 && place < group.length; place++) {
    const upper = lineOf(group.slice(0, place)), lower = lineOf(group.slice(place));
    const above = [...upper].length, below = [...lower].length;
    if (Math.max(above, below) > rules.lineCharacters) continue;
    const here = Math.abs(above - below) / rules.lineCharacters + (above > below ? 0.1 : 0)
      - breakQuality(group[place - 1], group[place]);
    if (here < price) { best = `${upper}\n${lower}`; price = here; }
  }
  return best;
}

// The content of a file. `take` has name, words and duration (seconds).
function transcriptAs(kind, take) {
  const { words, duration } = take, text = words.map((word) => word.text).join(" ");
  const plain = (lines) => lines.split("\n").map(plainText).join("\n");
  const cues = () => cuesOf(words, duration);
  if (kind === "json") {
    const confidence = words.reduce((sum, word) => sum + word.confidence, 0)
      / (words.length || 1);
    const round = (value, digits) => Number(value.toFixed(digits));
    return JSON.stringify({ path: take.name, text, confidence: round(confidence, 4),
      duration: round(duration, 3), words: words.map((word) => ({ text: word.text,
        start: round(word.start, 3), end: round(word.end, 3),
        confidence: round(word.confidence, 4) })) }) + "\n";
  }
  if (kind === "srt") {
    return cues().map((cue, k) => `${k + 1}\n${clock(cue.start, ",")} --> ${clock(cue.end, ",")}\n`
      + `${plain(cue.text).replaceAll("-->", "->")}\n\n`).join("");
  }
  if (kind === "vtt") {
    return "WEBVTT\n" + cues().map((cue) => `\n${clock(cue.start)} --> ${clock(cue.end)}\n`
      + `${plain(cue.text).replaceAll("&", "&amp;").replaceAll("<", "&lt;")
        .replaceAll(">", "&gt;")}\n`).join("");
  }
  return text + "\n";
}

// A row of a manifest (asr/manifest), with its line end.
const manifestRow = (id, audio, text, duration) => JSON.stringify({ id, audio_filepath: audio,
  text: plainText(text).trim(), duration: Number(duration.toFixed(3)) }) + "\n";

const stemOf = (name) => name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_")
  .replace(/^_+|_+$/g, "").slice(0, 80) || "recording";

if (typeof module !== "undefined") {
  module.exports = { clock, cuesOf, manifestRow, stemOf, transcriptAs };
}
