// One recording on the page: its words, its sound, its corrected text, and what can be kept of it.
class Take {
  constructor(name) {
    const stem = stemOf(name), count = (Take.names.get(stem) ?? 0) + 1;
    Take.names.set(stem, count);
    Object.assign(this, { name, id: count > 1 ? `${stem}-${count}` : stem, samples: null, rate: 0,
      duration: 0, unsaved: false, player: new Player() });
    Take.all.push(this);
    this.card = make("article", "card take");
    this.card.setAttribute("aria-label", name);
    const head = make("h3"), title = make("bdi", "", name);
    this.meta = make("span", "meta");
    head.append(title, this.meta);
    this.list = new WordList((start, end) => this.play(start, end));
    this.line = new Timeline(this.player, "Spectrogram; a click listens from there", 110);
    this.player.audio.hidden = this.line.canvas.hidden = true;
    this.sound = make("div", "sound");
    this.sound.append(this.line.canvas, this.player.audio);
    this.tools = make("div", "tools");
    this.tools.setAttribute("role", "group");
    this.tools.setAttribute("aria-label", "Download");
    this.tools.append(make("span", "soft", "Download"),
      ...["txt", "srt", "vtt", "json"].map((kind) =>
        makeButton(kind, () => this.save(kind), kind, `Download as ${kind}`)),
      this.training = makeButton("WAV + manifest row", () => this.saveTraining(), "row",
        "Download the recording as WAV, and its row of a manifest for training"),
      makeButton("Remove", () => this.remove(), "remove", `Remove ${name} from the page`));
    this.editor = make("details", "editor");
    this.box = make("textarea");
    this.box.dir = "auto";
    this.box.rows = 2;
    this.box.spellcheck = false;
    const label = make("label", "", "The text as it should be ");
    label.append(this.box);
    this.editor.append(make("summary", "", "Correct the text"), label);
    this.box.addEventListener("change", () => this.recompute());
    this.editor.hidden = this.tools.hidden = true;
    this.card.append(head, this.list.element, this.list.spoken, this.sound, this.editor, this.tools);
    $("takes").prepend(this.card);
  }

  // What is known so far; `pending` may still change, but not its beginning `stable`.
  add(words, pending = "", stable = "") {
    this.list.add(words);
    this.list.pending(pending, stable);
  }

  // A picture of the sound from `start` on; the words below it.
  draw(picture, start, seconds) {
    this.line.canvas.hidden = false;
    this.line.show(picture, this.list.words, start, seconds);
  }

  // The whole recording; samples are null where the browser cannot decode it.
  finish(words, samples, rate, duration) {
    Object.assign(this, { samples, rate, duration });
    this.list.pending("");
    this.list.set(words);
    this.heard = words;
    this.box.value = words.map((word) => word.text).join(" ");
    if (samples) {
      this.player.load(samples, rate);
      this.player.audio.hidden = this.line.canvas.hidden = false;
    }
    this.training.hidden = !samples;
    this.editor.hidden = this.tools.hidden = false;
  }

  remove() {
    this.player.stop();
    this.player.unload();
    this.card.remove();
    Take.all.splice(Take.all.indexOf(this), 1);
    $("record").focus();
  }

  tell(text) { this.meta.textContent = text; }

  fail(sentence) {
    this.list.pending("");
    this.list.element.hidden = !this.list.words.length;
    const line = make("p", "failure", sentence);
    line.setAttribute("role", "alert");
    this.list.element.after(line);
  }

  correct() {
    if (this.editor.hidden) return;
    this.editor.open = true;
    this.box.focus();
  }

  // The words of the corrected text; downloads have them, too.
  recompute() {
    this.list.set(retimed(this.heard, this.box.value));
    this.unsaved = true;
    this.line.words = this.list.words;
    this.line.paint();
    this.card.classList.toggle("changed", this.list.words.some((word) => word.corrected)
      || this.list.words.length !== this.heard.length);
  }

  play(start, end) {
    if (this.samples) this.player.play(start, Math.max(end, start + 0.05));
  }

  save(kind) {
    this.unsaved = false;
    const { words } = this.list;
    saveFile(`${this.id}.${kind}`, transcriptAs(kind, { name: this.name, words,
      duration: this.duration }), kind === "json" ? "application/json" : "text/plain");
  }

  saveTraining() {
    this.unsaved = false;
    const wav = `${this.id}.wav`, text = this.list.words.map((word) => word.text).join(" ");
    saveFile(wav, writeWav(this.samples, this.rate), "audio/wav");
    saveFile(`${this.id}.jsonl`, manifestRow(this.id, wav, text, this.samples.length / this.rate),
      "application/x-ndjson");
  }
}
Take.all = [];
Take.names = new Map();

function saveFile(name, content, type) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
