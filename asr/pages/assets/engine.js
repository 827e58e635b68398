// Speech recognition in plain JavaScript: samples to features, LSTM, CTC decoding, word times.
// No library, no page: it runs in a worker, and in Node (require). The numbers are those of the
// Python package, function by function; `model` is what asr/export/html_format.py embeds.

// ---- What travels as text: base64 of little-endian float32, float16 or int8 with scales. ----

function halfToFloat(half) {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function floatsOf(tensor) {
  const bytes = bytesOf(tensor.data);
  if (tensor.type === "float32") {
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4).slice();
  }
  const halves = new Uint16Array(bytes.buffer.slice(bytes.byteOffset,
    bytes.byteOffset + bytes.byteLength));
  return Float32Array.from(halves, halfToFloat);
}

function loadModel(model) {
  const weights = {};
  for (const [name, tensor] of Object.entries(model.weights)) {
    weights[name] = { shape: tensor.shape, values: floatsOf(tensor) };
  }
  return { ...model, weights, prepared: {} };
}

// ---- Sound ----

// Whether nothing in the recording is louder than -70 dB over 25 ms.
function isSilent(samples, rate) {
  const cell = Math.max(1, Math.trunc(0.025 * rate));
  for (let start = 0; start < samples.length; start += cell) {
    const end = Math.min(samples.length, start + cell);
    let power = 0;
    for (let i = start; i < end; i++) power += samples[i] * samples[i];
    if (!(power / (end - start) < 1e-7)) return false;
  }
  return true;
}

// ---- Features: log-mel or MFCC, deltas, normalisation; rows of a matrix {rows, columns, values} --

function matrix(rows, columns) {
  return { rows, columns, values: new Float32Array(rows * columns) };
}

function powerSpectrum(frame, n) {
  const bins = (n >> 1) + 1, power = new Float64Array(bins);
  if ((n & (n - 1)) === 0) {
    const real = new Float64Array(n), imaginary = new Float64Array(n);
    real.set(frame);
    fft(real, imaginary);
    for (let k = 0; k < bins; k++) power[k] = real[k] * real[k] + imaginary[k] * imaginary[k];
    return power;
  }
  for (let k = 0; k < bins; k++) {
    let re = 0, im = 0;
    for (let i = 0; i < frame.length; i++) {
      const angle = 2 * Math.PI * ((i * k) % n) / n;
      re += frame[i] * Math.cos(angle); im += frame[i] * Math.sin(angle);
    }
    power[k] = re * re + im * im;
  }
  return power;
}

function logMel(model, samples) {
  const s = model.features, window = s.win_length, hop = s.hop_length;
  const { filters, before } = model, taper = model.window;
  const result = matrix(1 + Math.floor((samples.length - s.n_fft % 2) / hop), s.n_mels);
  const frame = new Float64Array(window);
  for (let t = 0; t < result.rows; t++) {
    for (let i = 0; i < window; i++) {
      const at = t * hop - before + i;
      frame[i] = at >= 0 && at < samples.length ? samples[at] * taper[i] : 0;
    }
    const power = powerSpectrum(frame, s.n_fft);
    for (let m = 0; m < s.n_mels; m++) {
      const [first, weights] = filters[m];
      let energy = 0;
      for (let k = 0; k < weights.length; k++) energy += weights[k] * power[first + k];
      result.values[t * s.n_mels + m] = Math.log(Math.max(energy, 1e-10));
    }
  }
  return result;
}

function features(model, samples) {
  const s = model.features;
  let x = logMel(model, samples);
  if (s.kind === "mfcc") {
    const y = matrix(x.rows, s.n_mfcc);
    for (let t = 0; t < x.rows; t++) {
      for (let k = 0; k < s.n_mfcc; k++) {
        let sum = 0;
        for (let m = 0; m < s.n_mels; m++) {
          sum += x.values[t * s.n_mels + m] * Math.cos((m + 0.5) * k * Math.PI / s.n_mels);
        }
        y.values[t * s.n_mfcc + k] = sum * Math.sqrt((k ? 2 : 1) / s.n_mels);
      }
    }
    x = y;
  }
  if (!s.deltas) return x;
  const squares = [], y = matrix(x.rows, x.columns * (1 + s.deltas));
  for (let o = -4; o <= 4; o++) squares.push(o * o - 60 / 9);
  const total = squares.reduce((sum, v) => sum + v * v, 0);
  for (let t = 0; t < x.rows; t++) {
    for (let f = 0; f < x.columns; f++) {
      let slope = 0, curve = 0;
      for (let o = -4; o <= 4; o++) {
        const at = Math.min(Math.max(t + o, 0), x.rows - 1), value = x.values[at * x.columns + f];
        slope += value * o / 60; curve += value * 2 * squares[o + 4] / total;
      }
      const row = t * y.columns;
      y.values[row + f] = x.values[t * x.columns + f];
      y.values[row + x.columns + f] = slope;
      if (s.deltas > 1) y.values[row + 2 * x.columns + f] = curve;
    }
  }
  return y;
}

function normalize(model, x) {
  const s = model.features, n = x.columns, y = matrix(x.rows, n), floor = 1e-4;
  if (s.cmvn === "none") { y.values.set(x.values); return y; }
  let values = Float64Array.from(x.values);
  const weights = new Float64Array(x.rows).fill(1);
  let count = x.rows;
  if (s.cmvn_range_db || s.cmvn === "map") {
    let peak = -Infinity;
    for (const v of values) peak = Math.max(peak, v);
    const powers = new Float64Array(x.rows);
    for (let t = 0; t < x.rows; t++) {
      for (let f = 0; f < n; f++) powers[t] += Math.exp(values[t * n + f] - peak);
    }
    const average = () => powers.reduce((sum, v, t) => sum + weights[t] * v, 0) / count;
    if (s.cmvn_range_db) {
      const mean = average();
      for (let t = 0; t < x.rows; t++) {
        const above = 10 * Math.log10(powers[t] / mean) + s.cmvn_range_db;
        weights[t] = Math.min(Math.max(above / 10, 0), 1);
      }
      const loud = weights.reduce((sum, v) => sum + v, 0);
      const quiet = Math.min(1, loud / Math.max(x.rows - loud, 1e-9));
      for (let t = 0; t < x.rows; t++) weights[t] += (1 - weights[t]) * quiet;
      count = weights.reduce((sum, v) => sum + v, 0);
    }
    if (s.cmvn === "map") {
      const mean = peak + Math.log(average() / n);
      values = values.map((v) => Math.max(v - mean, -12));
    }
  }
  for (let f = 0; f < n; f++) {
    let centre, variance;
    if (s.cmvn === "global") {
      centre = model.cmvn.mean[f]; variance = model.cmvn.std[f] ** 2;
    } else {
      let mean = 0, square = 0;
      for (let t = 0; t < x.rows; t++) mean += weights[t] * values[t * n + f];
      mean /= count;
      for (let t = 0; t < x.rows; t++) square += weights[t] * (values[t * n + f] - mean) ** 2;
      centre = mean; variance = square / count;
      if (s.cmvn === "map") {
        const share = count / (count + s.cmvn_prior);
        centre = share * mean + (1 - share) * model.cmvn.mean[f];
        variance = share * (variance + (mean - centre) ** 2)
          + (1 - share) * model.cmvn.std[f] ** 2;
      }
    }
    const scale = 1 / Math.sqrt(Math.max(variance, floor));
    for (let t = 0; t < x.rows; t++) y.values[t * n + f] = (values[t * n + f] - centre) * scale;
  }
  return y;
}

// ---- The network: one utterance, no padding ----

function transposed(tensor) {  // (inputs, outputs) -> a row of inputs for every output
  const [inputs, outputs] = tensor.shape, result = new Float32Array(inputs * outputs);
  for (let i = 0; i < inputs; i++) {
    for (let o = 0; o < outputs; o++) result[o * inputs + i] = tensor.values[i * outputs + o];
  }
  return result;
}

function dense(x, kernel, bias, outputs) {  // `kernel` transposed; four sums keep the unit busy
  const n = x.columns, y = matrix(x.rows, outputs), rest = n - (n & 3);
  for (let t = 0; t < x.rows; t++) {
    const row = t * n;
    for (let o = 0; o < outputs; o++) {
      const at = o * n;
      let a = 0, b = 0, c = 0, d = 0, i = 0;
      for (; i < rest; i += 4) {
        a += x.values[row + i] * kernel[at + i];
        b += x.values[row + i + 1] * kernel[at + i + 1];
        c += x.values[row + i + 2] * kernel[at + i + 2];
        d += x.values[row + i + 3] * kernel[at + i + 3];
      }
      for (; i < n; i++) a += x.values[row + i] * kernel[at + i];
      y.values[t * outputs + o] = a + b + c + d + bias[o];
    }
  }
  return y;
}

function quietEdges(x, count) {
  if (!count) return x;
  const n = x.columns, y = matrix(x.rows + 2 * count, n);
  for (let f = 0; f < n; f++) {
    let low = Infinity;
    for (let t = 0; t < x.rows; t++) low = Math.min(low, x.values[t * n + f]);
    for (let t = 0; t < count; t++) {
      y.values[t * n + f] = low; y.values[(count + x.rows + t) * n + f] = low;
    }
  }
  y.values.set(x.values, count * n);
  return y;
}

function stackFrames(x, stacking, step) {
  const n = x.columns, y = matrix(Math.ceil(x.rows / step), stacking * n);
  for (let t = 0; t < y.rows; t++) {
    for (let k = 0; k < stacking && t * step + k < x.rows; k++) {
      const from = (t * step + k) * n;
      y.values.set(x.values.subarray(from, from + n), t * y.columns + k * n);
    }
  }
  return y;
}

// 3 x 3 over (time, mel), mel stride 2, ReLU; `x` is (time, mel, channel) in one row a frame.
function convolve(x, mels, channels, kernel, bias, stride) {
  const outputs = bias.shape[0], width = Math.ceil(mels / 2);
  const y = matrix(Math.ceil(x.rows / stride), width * outputs);
  for (let t = 0; t < y.rows; t++) {
    for (let m = 0; m < width; m++) {
      const at = t * y.columns + m * outputs, sums = Float64Array.from(bias.values);
      for (let dt = 0; dt < 3; dt++) {
        const from = t * stride + dt - 1;
        if (from < 0 || from >= x.rows) continue;
        for (let dm = 0; dm < 3; dm++) {
          const mel = m * 2 + dm - 1;
          if (mel < 0 || mel >= mels) continue;
          for (let c = 0; c < channels; c++) {
            const value = x.values[from * x.columns + mel * channels + c];
            const k = ((dt * 3 + dm) * channels + c) * outputs;
            for (let o = 0; o < outputs; o++) sums[o] += value * kernel.values[k + o];
          }
        }
      }
      for (let o = 0; o < outputs; o++) y.values[at + o] = Math.max(sums[o], 0);
    }
  }
  return y;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// One direction of an LSTM layer, gates i, f, c, o; writes its half of `y`.
function lstmDirection(model, x, name, backward, y, offset) {
  const weights = model.weights, units = weights[`${name}/recurrent_kernel`].shape[0];
  const kernel = model.prepared[`${name}/k`] ??= transposed(weights[`${name}/kernel`]);
  const recurrent = model.prepared[`${name}/r`] ??= transposed(weights[`${name}/recurrent_kernel`]);
  const gates = dense(x, kernel, weights[`${name}/bias`].values, 4 * units);
  const h = new Float32Array(units), c = new Float32Array(units), z = new Float64Array(4 * units);
  const rest = units - (units & 3);
  for (let step = 0; step < x.rows; step++) {
    const t = backward ? x.rows - 1 - step : step, row = t * 4 * units;
    for (let o = 0; o < 4 * units; o++) {
      const at = o * units;
      let a = 0, b = 0, d = 0, e = 0, i = 0;
      for (; i < rest; i += 4) {
        a += h[i] * recurrent[at + i]; b += h[i + 1] * recurrent[at + i + 1];
        d += h[i + 2] * recurrent[at + i + 2]; e += h[i + 3] * recurrent[at + i + 3];
      }
      for (; i < units; i++) a += h[i] * recurrent[at + i];
      z[o] = gates.values[row + o] + a + b + d + e;
    }
    for (let u = 0; u < units; u++) {
      c[u] = sigmoid(z[units + u]) * c[u] + sigmoid(z[u]) * Math.tanh(z[2 * units + u]);
      h[u] = sigmoid(z[3 * units + u]) * Math.tanh(c[u]);
      y.values[t * y.columns + offset + u] = h[u];
    }
  }
}

function layerNorm(x, gamma, beta) {
  const n = x.columns;
  for (let t = 0; t < x.rows; t++) {
    const row = x.values.subarray(t * n, (t + 1) * n);
    let mean = 0, variance = 0;
    for (const v of row) mean += v;
    mean /= n;
    for (const v of row) variance += (v - mean) ** 2;
    const scale = 1 / Math.sqrt(variance / n + 1e-3);
    for (let f = 0; f < n; f++) row[f] = (row[f] - mean) * scale * gamma[f] + beta[f];
  }
}

// Normalised features -> logits, both matrices. `seen(name, x)` is told each layer.
function network(model, x, seen = () => {}) {
  const s = model.model, w = model.weights;
  x = quietEdges(x, s.edge_frames * s.subsampling);
  if (s.front_end === "stack") {
    x = stackFrames(x, s.stacking, s.subsampling);
  } else {
    let mels = x.columns, channels = 1;
    const strides = { 1: [1, 1], 2: [2, 1], 3: [3, 1], 4: [2, 2] }[s.subsampling];
    strides.forEach((stride, index) => {
      x = convolve(x, mels, channels, w[`conv_${index}/kernel`], w[`conv_${index}/bias`], stride);
      mels = Math.ceil(mels / 2); channels = s.conv_channels;
    });
  }
  seen("front_end", x);
  for (let layer = 0; layer < s.num_layers; layer++) {
    const y = matrix(x.rows, 2 * s.units);
    lstmDirection(model, x, `lstm_${layer}/forward`, false, y, 0);
    lstmDirection(model, x, `lstm_${layer}/backward`, true, y, s.units);
    if (s.layer_norm) layerNorm(y, w[`norm_${layer}/gamma`].values, w[`norm_${layer}/beta`].values);
    x = y;
    seen(`lstm_${layer}`, x);
  }
  const kernel = model.prepared.output ??= transposed(w["output/kernel"]);
  return dense(x, kernel, w["output/bias"].values, w["output/bias"].shape[0]);
}

// ---- Decoding: rows of natural-log posteriors ----

function logSoftmax(logits) {
  const n = logits.columns, rows = [];
  for (let t = 0; t < logits.rows; t++) {
    const row = Float64Array.from(logits.values.subarray(t * n, (t + 1) * n));
    let peak = -Infinity, total = 0;
    for (const v of row) peak = Math.max(peak, v);
    for (const v of row) total += Math.exp(v - peak);
    const offset = peak + Math.log(total);
    rows.push(row.map((v) => v - offset));
  }
  return rows;
}

const greedyPath = (rows) => rows.map((row) => {
  let best = 0;
  for (let v = 1; v < row.length; v++) if (row[v] > row[best]) best = v;
  return best;
});

function trieOf(model) {  // a prefix tree of the lexicon: labels, parents, terminal
  const trie = { labels: [0], parents: [-1], terminal: [false] }, children = new Map();
  for (const word of model.lexicon) {
    let node = 0;
    for (const label of word) {
      const key = `${node} ${label}`;
      if (!children.has(key)) {
        children.set(key, trie.labels.length);
        trie.labels.push(label); trie.parents.push(node); trie.terminal.push(false);
      }
      node = children.get(key);
    }
    trie.terminal[node] = true;
  }
  return trie;
}

// The best path that spells words of the lexicon: see asr/decoding/lexicon.py, state by state.
function lexiconPath(model, rows) {
  const { labels, parents, terminal } = model.prepared.trie ??= trieOf(model);
  const nodes = labels.length, space = model.labels.indexOf(" "), spaceState = 2 * nodes;
  let before = new Float64Array(2 * nodes + 2).fill(-Infinity), after = before.slice();
  before[1] = 0;
  const cameFrom = rows.map(() => new Int32Array(2 * nodes + 2));
  rows.forEach((row, t) => {
    const from = cameFrom[t];
    after[0] = -Infinity; after[1] = before[1] + row[0]; from[1] = 1;
    let bestEnd = -Infinity, endState = -1;
    for (let node = 1; node < nodes; node++) {
      const label = labels[node], parent = parents[node], state = 2 * node;
      if (terminal[node]) {
        for (const candidate of [state, state + 1]) {
          if (before[candidate] > bestEnd) { bestEnd = before[candidate]; endState = candidate; }
        }
      }
      let best = before[2 * parent + 1], origin = 2 * parent + 1;
      if (parent === 0) {
        for (const candidate of [spaceState, spaceState + 1]) {
          if (before[candidate] > best) { best = before[candidate]; origin = candidate; }
        }
        best += model.decoder.word_bonus;
      } else if (labels[parent] !== label && before[2 * parent] > best) {
        best = before[2 * parent]; origin = 2 * parent;
      }
      if (before[state] > best) { best = before[state]; origin = state; }
      after[state] = best + row[label]; from[state] = origin;
      origin = before[state + 1] >= before[state] ? state + 1 : state;
      after[state + 1] = before[origin] + row[0]; from[state + 1] = origin;
    }
    if (space >= 0) {
      if (before[spaceState] > bestEnd) { bestEnd = before[spaceState]; endState = spaceState; }
      after[spaceState] = bestEnd + row[space]; from[spaceState] = endState;
      const origin = before[spaceState + 1] >= before[spaceState] ? spaceState + 1 : spaceState;
      after[spaceState + 1] = before[origin] + row[0]; from[spaceState + 1] = origin;
    }
    [before, after] = [after, before];
  });
  let state = 1;
  for (let node = 1; node < nodes; node++) {
    if (!terminal[node]) continue;
    for (const candidate of [2 * node, 2 * node + 1]) {
      if (before[candidate] > before[state]) state = candidate;
    }
  }
  const path = new Array(rows.length).fill(0);
  for (let t = rows.length - 1; t >= 0; t--) {
    if (state % 2 === 0) path[t] = state === spaceState ? space : labels[state >> 1];
    state = cameFrom[t][state];
  }
  return path;
}

function runsOf(path) {
  const runs = [];
  path.forEach((label, t) => {
    if (!label) return;
    const last = runs[runs.length - 1];
    if (t && path[t - 1] === label) last.end = t + 1;
    else runs.push({ label, start: t, end: t + 1 });
  });
  return runs;
}

function logAdd(a, b) {
  if (a < b) [a, b] = [b, a];
  return b === -Infinity ? a : a + Math.log1p(Math.exp(b - a));
}

// The span of each label by the posterior of all alignments: asr/decoding/posterior.py.
function medianSpans(rows, runs) {
  const labels = runs.map((run) => run.label), count = labels.length, band = 16;
  if (!count) return [];
  const states = 2 * count + 1, width = Math.min(2 * band + 1, states);
  const steps = new Int32Array(rows.length + 1);
  for (const run of runs) { steps[run.start]++; steps[run.end]++; }
  const low = [];
  let centre = 0;
  for (let t = 0; t < rows.length; t++) {
    centre += steps[t];
    low.push(Math.min(Math.max(centre - band, 0), states - width));
  }
  const labelOf = (state) => state % 2 ? labels[state >> 1] : 0;
  const maySkip = (state) => state % 2 === 1 && state > 1
    && labels[state >> 1] !== labels[(state >> 1) - 1];
  const forward = rows.map(() => new Float64Array(width).fill(-Infinity));
  for (let place = 0; place < Math.min(2, states - low[0], width); place++) {
    forward[0][place] = rows[0][place ? labels[0] : 0];
  }
  for (let t = 1; t < rows.length; t++) {
    const shift = low[t] - low[t - 1];
    for (let place = 0; place < width; place++) {
      const state = low[t] + place;
      let total = -Infinity;
      for (let step = 0; step < 3; step++) {
        const origin = place + shift - step;
        if (origin >= 0 && origin < width && (step < 2 || maySkip(state))) {
          total = logAdd(total, forward[t - 1][origin]);
        }
      }
      forward[t][place] = total + rows[t][labelOf(state)];
    }
  }
  const medians = new Int32Array(rows.length), last = rows.length - 1;
  let after = new Float64Array(width).fill(-Infinity);
  for (let place = 0; place < width; place++) if (low[last] + place >= states - 2) after[place] = 0;
  for (let t = last; t >= 0; t--) {
    if (t < last) {
      const shift = low[t + 1] - low[t], before = new Float64Array(width).fill(-Infinity);
      for (let place = 0; place < width; place++) {
        for (let step = 0; step < 3; step++) {
          const target = place - shift + step;
          if (target < 0 || target >= width) continue;
          const state = low[t + 1] + target;
          if (step < 2 || maySkip(state)) {
            before[place] = logAdd(before[place], after[target] + rows[t + 1][labelOf(state)]);
          }
        }
      }
      after = before;
    }
    const joint = forward[t].map((v, place) => v + after[place]), peak = Math.max(...joint);
    const shares = joint.map((v) => Math.exp(v - peak));
    const wanted = (0.5 - 1e-12) * shares.reduce((a, b) => a + b, 0);
    let place = width - 1, above = shares[place];
    while (above < wanted && place > 0) above += shares[--place];
    medians[t] = low[t] + place;
    if (t < last) medians[t] = Math.min(medians[t], medians[t + 1]);
  }
  const reached = (state) => {
    const t = medians.findIndex((median) => median >= state);
    return t < 0 ? rows.length : t;
  };
  const spans = labels.map((_, k) => [reached(2 * k + 1), reached(2 * k + 2)]);
  return spans.every(([start, end]) => start < end) ? spans : runs.map((r) => [r.start, r.end]);
}

// Natural log of the probability that the frames spell a word, over all alignments.
function segmentLogProbability(rows, labels, space) {
  const states = 2 * labels.length + 1, forward = new Float64Array(states).fill(-Infinity);
  rows.forEach((row, t) => {
    const around = space >= 0 ? logAdd(row[0], row[space]) : row[0];
    for (let state = states - 1; state >= 0; state--) {
      let total = forward[state];
      if (t === 0) total = state < 2 ? 0 : -Infinity;
      else if (state > 0) {
        total = logAdd(total, forward[state - 1]);
        if (state % 2 && state > 1 && labels[state >> 1] !== labels[(state >> 1) - 1]) {
          total = logAdd(total, forward[state - 2]);
        }
      }
      forward[state] = total + (state % 2 ? row[labels[state >> 1]]
        : state === 0 || state === states - 1 ? around : row[0]);
    }
  });
  return logAdd(forward[states - 1], forward[states - 2]);
}

function logOdds(logProbability) {
  const certain = -Math.expm1(Math.min(logProbability, -1e-300));
  return Math.min(16, Math.max(-16, logProbability - Math.log(certain)));
}

// Words with frame spans and confidences: calibrated where the model is.
function wordsOf(model, rows, path) {
  const runs = runsOf(path), spans = medianSpans(rows, runs), words = [];
  const isSpace = (label) => /\s/.test(model.labels[label]), space = model.labels.indexOf(" ");
  let word = null;
  runs.forEach((run, k) => {
    if (isSpace(run.label)) { word = null; return; }
    if (!word) words.push(word = { text: "", labels: [], start: spans[k][0], peaks: 0 });
    let peak = -Infinity;
    for (let t = run.start; t < run.end; t++) peak = Math.max(peak, rows[t][run.label]);
    word.text += model.labels[run.label]; word.labels.push(run.label);
    word.peaks += peak; word.end = spans[k][1];
  });
  words.forEach((one, k) => {
    const mean = Math.min(0, one.peaks / one.labels.length), c = model.calibration;
    one.confidence = Math.exp(mean);
    if (!c) return;
    const window = rows.slice(k ? words[k - 1].end : 0,
      k + 1 < words.length ? words[k + 1].start : rows.length);
    const segment = segmentLogProbability(window, one.labels, space), peak = logOdds(mean);
    const odds = c.peak * peak + c.segment * logOdds(segment)
      + c.letter * logOdds(segment / one.labels.length) + c.share * 16 + c.language * 16
      + c.square * peak * Math.abs(peak) / 4 + c.bias;
    one.confidence = 1 / (1 + Math.exp(-odds));
  });
  return words;
}

// ---- Word times: edges move to the pauses around (asr/transcript/pauses.py) ----

function speechLevels(model, x) {
  const s = model.features;
  return Float64Array.from({ length: x.rows }, (_, t) => {
    if (s.kind === "mfcc") return x.values[t * x.columns] / Math.sqrt(s.n_mels);
    let sum = 0;
    for (let m = 0; m < s.n_mels; m++) sum += x.values[t * x.columns + m];
    return sum / s.n_mels;
  });
}

function floorOf(levels) {
  const size = Math.min(5, levels.length);
  let low = Infinity;
  for (let t = 0; t + size <= levels.length; t++) {
    let sum = 0;
    for (let k = 0; k < size; k++) sum += levels[t + k];
    low = Math.min(low, sum / size);
  }
  return low;
}

function runsBelow(levels, limit) {  // [begin, end) each
  const runs = [];
  levels.forEach((v, t) => {
    if (!(v < limit)) return;
    const last = runs[runs.length - 1];
    if (last && last[1] === t) last[1] = t + 1; else runs.push([t, t + 1]);
  });
  return runs;
}

function pauseOf(levels, speech, frame) {
  const depth = 6 * Math.log(10) / 10, silence = -85 * Math.log(10) / 10;
  if (!levels.length) return null;
  let floor = floorOf(levels);
  const room = levels.filter((v) => v > silence);
  if (room.length >= 5 && speech - floorOf(room) >= depth) floor = floorOf(room);
  if (speech - floor < depth) return null;
  const runs = runsBelow(levels, floor + 0.25 * (speech - floor));
  const sure = runs.filter(([a, b]) => (b - a) * frame >= 0.15 - 1e-9);
  if (sure.length) return [sure[0][0], sure[sure.length - 1][1]];
  let best = null;
  for (const run of runs) if (!best || run[1] - run[0] > best[1] - best[0]) best = run;
  return best && (best[1] - best[0]) * frame >= 0.03 - 1e-9 ? best : null;
}

function roundHalfEven(v) {  // halves go to the even number, as in Python and NumPy
  const r = Math.round(v);
  return Math.abs(v % 1) === 0.5 && r % 2 ? r - 1 : r;
}

function timesOf(model, words, x, duration) {
  const hop = model.features.hop_length / model.features.sample_rate, step = model.model.subsampling;
  const origin = model.frame_origin, total = x.rows, levels = speechLevels(model, x);
  const starts = words.map((w) => origin + 0.5 + w.start * step);
  const ends = words.map((w) => origin + 0.5 + w.end * step);
  const newStarts = starts.slice(), newEnds = ends.slice();
  const inside = (v) => Math.min(Math.max(roundHalfEven(v), 0), total);
  const first = starts.map(inside), last = ends.map(inside), count = words.length;
  const loudest = (a, b) => Math.max(-Infinity, ...levels.subarray(a, Math.max(a, b)));
  for (let gap = 0; gap <= count; gap++) {
    const left = gap ? Math.max(last[gap - 1] - 1, 0) : 0;
    const right = gap < count ? Math.min(first[gap] + 1, total) : total;
    const around = [];
    if (gap) around.push(loudest(first[gap - 1], right));
    if (gap < count) around.push(loudest(Math.max(right - 2, 0), last[gap] + 1));
    const heard = around.filter((v) => v > -Infinity);
    const speech = heard.length ? Math.min(...heard) : -Infinity;
    const pause = pauseOf(levels.slice(left, Math.max(left, right)), speech, hop);
    if (gap) {
      const limit = gap < count ? starts[gap] : total;
      const wanted = pause ? left + pause[0] : limit, tail = (pause ? 1.0 : 0.3) / hop;
      newEnds[gap - 1] = Math.max(Math.min(wanted, ends[gap - 1] + tail, limit),
        starts[gap - 1] + 1, ends[gap - 1] - 1);
    }
    if (gap < count && pause) {
      const wanted = left + pause[1];
      if (wanted >= starts[gap] - 0.3 / hop) {
        newStarts[gap] = Math.max(Math.min(wanted, ends[gap] - 1), gap ? newEnds[gap - 1] : 0);
      }
    }
  }
  let limit = duration;
  for (let k = count - 1; k >= 0; k--) {
    const end = Math.min(Math.max((Math.max(newEnds[k], newStarts[k] + 1e-3) - 0.5) * hop, 0), limit);
    const start = Math.max(Math.min(Math.max((newStarts[k] - 0.5) * hop, 0), end - hop), 0);
    words[k].from = start; words[k].to = end; limit = start;
  }
}

// ---- Long pauses: their middle is not read (asr/inference/long_pauses.py) ----

function longPauses(model, x) {  // output frames [first, stop) each
  const { sample_rate: rate, hop_length: hop } = model.features, step = model.model.subsampling;
  const limitSeconds = model.decoder.max_pause;
  const kept = Math.max(1, roundHalfEven(limitSeconds * rate / hop / 2)), size = 2 * kept;
  if (!limitSeconds || x.rows <= size) return [];
  const levels = speechLevels(model, x), nats = Math.log(10) / 10, spans = [];
  const loud = Math.floor(Math.min(0.02 * x.rows, 0.3 * rate / hop));
  const speech = Float64Array.from(levels).sort()[x.rows - 1 - loud];
  let sum = 0, silent = -1, floor = Infinity, lowest = Infinity;  // of the quietest stretch
  levels.forEach((v, t) => {
    sum += v - (t < size ? 0 : levels[t - size]);
    if (v <= -85 * nats) silent = t;  // digital silence, which is no room
    if (t + 1 < size) return;
    lowest = Math.min(lowest, sum / size);
    if (silent <= t - size) floor = Math.min(floor, sum / size);
  });
  if (floor === Infinity) floor = lowest;
  const limit = Math.min(floor + 6 * nats, speech - 12 * nats);
  for (const [begin, end] of runsBelow(levels, limit)) {
    if (end - begin <= 2 * kept) continue;
    const first = Math.ceil((begin ? begin + kept : 0) / step);
    const stop = Math.floor((end < x.rows ? end - kept : end) / step);
    if (stop > first) spans.push([first, stop]);
  }
  return spans;
}

function leaveOut(model, x, spans) {
  const step = model.model.subsampling, n = x.columns, kept = [];
  for (let t = 0; t < x.rows; t++) {
    if (!spans.some(([first, stop]) => t >= first * step && t < stop * step)) kept.push(t);
  }
  const y = matrix(kept.length, n);
  kept.forEach((t, row) => y.values.set(x.values.subarray(t * n, (t + 1) * n), row * n));
  return y;
}

function putBack(model, logits, spans) {
  const n = logits.columns, edge = model.model.edge_frames;
  const whole = matrix(spans.reduce((sum, [a, b]) => sum + b - a, logits.rows), n);
  let from = 0;
  for (let t = 0; t < whole.rows; t++) {
    if (spans.some(([first, stop]) => t >= edge + first && t < edge + stop)) {
      whole.values.fill(-50, t * n + 1, (t + 1) * n);
    } else {
      whole.values.set(logits.values.subarray(from * n, (from + 1) * n), t * n);
      from += 1;
    }
  }
  return whole;
}

// ---- All of it: samples at the model's rate -> what the page shows ----

function recognize(model, samples) {
  const rate = model.features.sample_rate, duration = samples.length / rate;
  const started = now();
  const empty = { text: "", words: [], duration, seconds: 0, frames: null, posteriors: null };
  if (!samples.length || isSilent(samples, rate)) return empty;
  const raw = features(model, samples);
  const spans = longPauses(model, raw), read = leaveOut(model, raw, spans);
  const rows = logSoftmax(putBack(model, network(model, normalize(model, read)), spans));
  const path = model.decoder.kind === "lexicon" ? lexiconPath(model, rows) : greedyPath(rows);
  const words = wordsOf(model, rows, path);
  timesOf(model, words, raw, duration);
  const posteriors = matrix(rows.length, rows[0].length);
  rows.forEach((row, t) => posteriors.values.set(row.map(Math.exp), t * row.length));
  return {
    text: words.map((word) => word.text).join(" "), duration, frames: raw, posteriors,
    words: words.map((w) => ({ text: w.text, start: w.from, end: w.to, confidence: w.confidence })),
    seconds: (now() - started) / 1000,
  };
}

const now = () => (typeof performance !== "undefined" ? performance : Date).now();

if (typeof module !== "undefined") {
  module.exports = { features, loadModel, longPauses, network, normalize, recognize, resample };
} else if (typeof WorkerGlobalScope !== "undefined") {
  let model = null;
  self.onmessage = ({ data }) => {
    if (data.model) { model = loadModel(data.model); self.postMessage({ ready: true }); return; }
    const samples = resample(data.samples, data.rate, model.features.sample_rate);
    self.postMessage({ ...recognize(model, samples), samples, key: data.key });
  };
}
