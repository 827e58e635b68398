"use strict";
// Sound as numbers, without a page: it runs in a page, in a worker and in Node.

function bytesOf(text) {  // base64
  if (typeof Buffer !== "undefined") return new Uint8Array(Buffer.from(text, "base64"));
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// A band-limited change of rate, piece by piece: a windowed sinc, 32 zeros on either side. However
// the recording is divided, the samples are the same. Rates are whole numbers of Hz.
class Resampler {
  constructor(from, to) {
    Object.assign(this, { from, to, scale: Math.min(1, to / from), kernels: new Map(),
      rest: new Float32Array(0), first: 0, next: 0 });
    this.reach = Math.ceil(32 / this.scale);
  }

  // Weights of the samples around a place that lies `share / to` behind a whole sample.
  kernel(share) {
    let kernel = this.kernels.get(share);
    if (!kernel) {
      const place = share / this.to, cut = this.scale * 0.97;
      const low = Math.ceil(place - this.reach), high = Math.floor(place + this.reach);
      const weights = Float64Array.from({ length: high - low + 1 }, (_, k) => {
        const x = place - low - k, phase = Math.PI * x * cut;
        const sinc = Math.abs(phase) < 1e-9 ? 1 : Math.sin(phase) / phase;
        return cut * sinc * (0.5 + 0.5 * Math.cos(Math.PI * x / this.reach));
      });
      kernel = { low, weights };
      if (this.kernels.size < 4096) this.kernels.set(share, kernel);
    }
    return kernel;
  }

  // The samples that are certain now; with `last` all of them.
  push(samples, last = false) {
    if (this.from === this.to) return samples;
    const input = new Float32Array(this.rest.length + samples.length);
    input.set(this.rest);
    input.set(samples, this.rest.length);
    const end = this.first + input.length, output = [];
    for (;; this.next++) {
      const at = this.next * this.from, whole = Math.floor(at / this.to);
      if (last ? at >= end * this.to : whole + this.reach + 1 >= end) break;
      const { low, weights } = this.kernel(at - whole * this.to);
      const start = whole + low - this.first;
      let sum = 0;
      for (let k = Math.max(0, -start); k < Math.min(weights.length, input.length - start); k++) {
        sum += input[start + k] * weights[k];
      }
      output.push(sum);
    }
    const needed = Math.max(this.first, Math.floor(this.next * this.from / this.to) - this.reach);
    this.rest = input.slice(Math.min(needed - this.first, input.length));
    this.first = end - this.rest.length;
    return Float32Array.from(output);
  }
}

const resample = (samples, from, to) => new Resampler(from, to).push(samples, true);

// In place, real and imaginary parts; the length is a power of two.
function fft(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1;
    for (let k = 0; k < half; k++) {
      const angle = -2 * Math.PI * k / size, c = Math.cos(angle), s = Math.sin(angle);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const re = real[j] * c - imaginary[j] * s, im = real[j] * s + imaginary[j] * c;
        real[j] = real[i] - re; imaginary[j] = imaginary[i] - im;
        real[i] += re; imaginary[i] += im;
      }
    }
  }
}

// Level of a piece in dB below full scale, by its power.
function decibels(samples) {
  let power = 0;
  for (const v of samples) power += v * v;
  return 10 * Math.log10(power / Math.max(1, samples.length) + 1e-10);
}

function joined(pieces) {
  const all = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) { all.set(piece, at); at += piece.length; }
  return all;
}

function toPcm(samples) {  // 16-bit integers, clipped
  return Int16Array.from(samples, (v) => Math.max(-32768, Math.min(32767, Math.round(v * 32768))));
}

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

// Mono, 16 bits; the bytes of a file.
function writeWav(samples, rate) {
  const pcm = toPcm(samples), bytes = new Uint8Array(44 + 2 * pcm.length);
  const view = new DataView(bytes.buffer);
  const text = (at, word) => [...word].forEach((c, k) => { bytes[at + k] = c.charCodeAt(0); });
  text(0, "RIFF"); text(8, "WAVE"); text(12, "fmt "); text(36, "data");
  view.setUint32(4, 36 + 2 * pcm.length, true);
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  view.setUint32(40, 2 * pcm.length, true);
  pcm.forEach((v, i) => view.setInt16(44 + 2 * i, v, true));
  return bytes;
}
