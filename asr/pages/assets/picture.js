// Pictures of numbers over time: one colour table, one way to paint values, one timeline.

// Stops of matplotlib's magma, viridis and RdBu, the colours of asr/inspection/plot.py.
const COLOURS = Object.fromEntries(Object.entries({
  sound: "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
  share: "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
  signed: "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
}).map(([name, stops]) => {
  const points = stops.split(" ").map((hex) => [0, 2, 4].map((k) =>
    parseInt(hex.slice(k, k + 2), 16)));
  return [name, Array.from({ length: 256 }, (_, n) => {
    const place = n / 255 * (points.length - 1), low = Math.min(points.length - 2, place | 0);
    return points[low].map((from, k) => from + (points[low + 1][k] - from) * (place - low));
  })];
}));

// One pixel a value: shade(x, y) in 0 .. 1, y from the top.
function heat(columns, rows, colours, shade) {
  const canvas = make("canvas"), picture = canvas.getContext("2d");
  Object.assign(canvas, { width: columns, height: rows });
  const image = picture.createImageData(columns, rows), table = COLOURS[colours];
  for (let x = 0; x < columns; x++) {
    for (let y = 0; y < rows; y++) {
      const [r, g, b] = table[clamp(Math.round(255 * shade(x, y)), 0, 255)];
      image.data.set([r, g, b, 255], 4 * (y * columns + x));
    }
  }
  picture.putImageData(image, 0, 0);
  return canvas;
}

// 0 Hz to half the rate, from the bottom up; 75 dB.
function spectrogram(samples, columns, rows) {
  const size = 512, half = size / 2;
  const taper = Float32Array.from({ length: size }, (_, n) =>
    0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));
  const re = new Float32Array(size), im = new Float32Array(size);
  let drawn = -1;
  return heat(columns, rows, "sound", (x, y) => {
    if (x !== drawn) {
      drawn = x;
      const start = Math.round(x / columns * samples.length) - half;
      for (let n = 0; n < size; n++) re[n] = (samples[start + n] ?? 0) * taper[n];
      im.fill(0);
      fft(re, im);
    }
    const bin = Math.floor((1 - (y + 1) / rows) * half);
    return (10 * Math.log10(re[bin] * re[bin] + im[bin] * im[bin] + 1e-9) + 45) / 75;
  });
}

// A picture over time with the words below it and the place of the player; a click plays from there.
class Timeline {
  constructor(player, label, height) {
    Object.assign(this, { player, height, picture: null, words: [], start: 0, seconds: 0 });
    this.canvas = make("canvas", "timeline");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.canvas.paint = () => this.paint();
    this.canvas.addEventListener("click", (event) => {
      if (this.seconds) player.play(this.start + event.offsetX / this.canvas.clientWidth
        * this.seconds);
    });
    player.watch(() => this.paint());
  }

  // Pixels of the picture, where the canvas is in the page.
  get size() {
    const scale = window.devicePixelRatio || 1;
    return [Math.max(200, Math.round(this.canvas.clientWidth * scale)),
      Math.round(this.height * scale)];
  }

  show(picture, words, start, seconds) {
    Object.assign(this, { picture, words, start, seconds });
    this.paint();
    this.canvas.dataset.drawn = "yes";
  }

  paint() {
    if (!this.picture || !this.canvas.isConnected) return;
    const scale = window.devicePixelRatio || 1, [width, tall] = this.size, strip = 22 * scale;
    const { canvas, words, start, seconds, player } = this;
    canvas.width = width;
    canvas.height = tall + (words.length ? Math.round(strip) : 0);
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const x = (time) => (time - start) / seconds * width;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.picture, 0, 0, width, tall);
    pen.font = `${12 * scale}px system-ui, sans-serif`;
    pen.fillStyle = style.getPropertyValue("--card");
    pen.fillRect(0, tall, width, strip);
    for (const word of words) {
      const active = player.time >= word.start && player.time < word.end;
      const left = x(word.start), wide = Math.max(1, x(word.end) - left - 1);
      pen.fillStyle = style.getPropertyValue(active ? "--accent" : "--line");
      pen.fillRect(left, tall, wide, strip);
      pen.fillStyle = style.getPropertyValue(active ? "--page" : "--ink");
      pen.save();
      pen.beginPath();
      pen.rect(left, tall, wide, strip);
      pen.clip();
      pen.fillText(word.text, left + 3 * scale, tall + 16 * scale);
      pen.restore();
    }
    pen.fillStyle = "#ffffff";
    pen.fillRect(x(player.time), 0, 2 * scale, tall);
  }
}
