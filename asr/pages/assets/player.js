// One player for all pages: an audio element that also plays a stretch.
class Player {
  constructor(source = "") {
    Object.assign(this, { end: Infinity, watchers: [], running: false });
    this.audio = make("audio");
    this.audio.controls = true;
    if (source) this.audio.src = source;
    for (const name of ["pause", "seeked", "ended"]) {
      this.audio.addEventListener(name, () => this.tell());
    }
    this.audio.addEventListener("play", () => {
      if (Player.current !== this) Player.current?.stop();
      Player.current = this;
      this.follow();
    });
  }

  get time() { return this.audio.currentTime; }
  get paused() { return this.audio.paused || this.audio.ended; }

  // WAV of samples, which replaces what was there.
  load(samples, rate) {
    this.unload();
    this.audio.src = URL.createObjectURL(new Blob([writeWav(samples, rate)],
      { type: "audio/wav" }));
  }

  unload() {
    if (!this.audio.src.startsWith("blob:")) return;
    URL.revokeObjectURL(this.audio.src);
    this.audio.removeAttribute("src");
  }

  play(start = this.time, end = Infinity) {
    this.end = end;
    if (start !== this.time) this.audio.currentTime = Math.max(0, start);
    this.audio.play().catch(() => {});  // some browsers want another click
  }

  stop() { this.audio.pause(); }
  toggle() { if (this.paused) this.play(); else this.stop(); }
  watch(watcher) { this.watchers.push(watcher); }
  tell() { for (const watcher of this.watchers) watcher(this.time); }

  follow() {
    if (this.running) return;
    this.running = true;
    const step = () => {
      if (this.time >= this.end) {
        this.stop();
        this.end = Infinity;
      }
      this.tell();
      this.running = !this.paused;
      if (this.running) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}
Player.current = null;
