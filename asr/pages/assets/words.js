// Words with times and confidences: a click plays one; how sure it is shows in its line, its title
// and its name, never by colour alone.

function sureness(confidence) {
  return confidence < 0.6 ? "poor" : confidence < 0.85 ? "fair" : "";
}

class WordList {
  // `play(start, end)` is called for a word.
  constructor(play) {
    Object.assign(this, { play, words: [] });
    this.element = make("div", "words");
    this.element.dir = "auto";
    this.final = make("span", "final");
    this.partial = make("span", "partial");
    this.spoken = make("p", "unseen");  // a screen reader gets what is certain, once
    this.spoken.setAttribute("role", "log");
    this.element.append(this.final, this.partial);
  }

  add(words) {
    this.words.push(...words);
    this.final.querySelector(".none")?.remove();
    for (const word of words) this.final.append(this.button(word), " ");
    if (words.length) this.spoken.append(words.map((word) => word.text).join(" ") + " ");
  }

  // What is not final: its beginning, `stable`, stays; the rest may still change.
  pending(text, stable = "") {
    const kept = text.startsWith(stable) ? stable : "";
    this.partial.replaceChildren(make("span", "stable", kept),
      make("span", "open", text.slice(kept.length)));
    this.partial.hidden = !text;
  }

  set(words) {
    this.words = [];
    this.final.replaceChildren();
    this.spoken.replaceChildren();
    this.add(words);
    if (!words.length) this.say("no words");
  }

  say(text) { this.final.replaceChildren(make("span", "none", text)); }

  button(word) {
    const sure = word.corrected ? "corrected" : `${Math.round(100 * word.confidence)} % sure`;
    const kind = word.corrected ? "corrected" : sureness(word.confidence);
    const node = makeButton(word.text, () => this.play(word.start, word.end), `word ${kind}`,
      `${word.text}, ${sure}, listen`);
    node.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, ${sure}`;
    return node;
  }
}

// A corrected text with the times of what was recognised: words that are alike keep theirs, a
// replacement takes those of the word it replaces, new words share the room between neighbours.
function retimed(words, text) {
  const target = text.split(/\s+/u).filter(Boolean);
  let head = 0, tail = 0;
  const shorter = Math.min(words.length, target.length);
  while (head < shorter && words[head].text === target[head]) head++;
  while (tail < shorter - head && words.at(-1 - tail).text === target.at(-1 - tail)) tail++;
  const result = [...words.slice(0, head),
    ...realigned(words.slice(head, words.length - tail), target.slice(head, target.length - tail)),
    ...words.slice(words.length - tail)].map((word) => ({ ...word }));
  return placed(result);
}

function realigned(words, target) {  // fewest changes; a new word has no time yet
  const rows = words.length, columns = target.length, result = [];
  const same = (i, j) => words[i].text === target[j];
  const cost = Array.from({ length: rows + 1 }, (_, i) =>
    Float64Array.from({ length: columns + 1 }, (_, j) => i ? i : j));
  for (let i = 1; i <= rows; i++) {
    for (let j = 1; j <= columns; j++) {
      cost[i][j] = Math.min(cost[i - 1][j] + 1, cost[i][j - 1] + 1,
        cost[i - 1][j - 1] + (same(i - 1, j - 1) ? 0 : 1));
    }
  }
  for (let i = rows, j = columns; j > 0;) {
    if (i && cost[i][j] === cost[i - 1][j - 1] + (same(i - 1, j - 1) ? 0 : 1)) {
      i--; j--;
      result.unshift(same(i, j) ? { ...words[i] }
        : { ...words[i], text: target[j], confidence: 1, corrected: true });
    } else if (i && cost[i][j] === cost[i - 1][j] + 1) i--;
    else result.unshift({ text: target[--j], start: NaN, end: NaN, confidence: 1,
      corrected: true });
  }
  return result;
}

function placed(result) {  // times for the words without
  for (let k = 0; k < result.length; k++) {
    if (!Number.isNaN(result[k].start)) continue;
    let last = k;
    while (last + 1 < result.length && Number.isNaN(result[last + 1].start)) last++;
    const before = result[k - 1], after = result[last + 1];
    let start = before?.end ?? 0, end = after?.start ?? start;
    if (before && end - start < 0.1 * (last - k + 1)) {  // no room: share that of the word before
      start = (before.start + before.end) / 2;
      end = Math.max(end, before.end);
      before.end = start;
    }
    const step = (end - start) / (last - k + 1);
    for (let n = k; n <= last; n++) {
      result[n].start = start + step * (n - k);
      result[n].end = start + step * (n - k + 1);
    }
  }
  return result;
}
