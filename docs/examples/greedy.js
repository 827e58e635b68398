// A WAV file to text with an exported model, in Node or, with fetch, in a browser.
//   npm install onnxruntime-web
//   node greedy.js digits.samples.onnx digits.onnx.certificate.json talk.wav
const fs = require("fs");
const ort = require("onnxruntime-web");

async function main([model, certificate, recording]) {
  const { labels, sample_rate } = JSON.parse(fs.readFileSync(certificate)).model;
  const wav = fs.readFileSync(recording), data = wav.indexOf("data", 12, "latin1");
  if (wav.readUInt16LE(22) !== 1 || wav.readUInt16LE(34) !== 16
      || wav.readUInt32LE(24) !== sample_rate) {
    throw new Error(`${recording} must be mono, 16 bit, ${sample_rate} Hz.`);
  }
  const count = Math.min(wav.readUInt32LE(data + 4), wav.length - data - 8) >> 1;
  const samples = Float32Array.from({ length: count },
    (_, i) => wav.readInt16LE(data + 8 + 2 * i) / 32768);
  const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(model)));
  const { logits } = await session.run({
    samples: new ort.Tensor("float32", samples, [1, count]),
    num_samples: new ort.Tensor("int32", Int32Array.of(count), [1]),
  });
  const width = labels.length;
  let text = "", before = 0;
  for (let t = 0; t < logits.dims[1]; t++) {
    const row = logits.data.subarray(t * width, (t + 1) * width);
    const label = row.indexOf(Math.max(...row));
    if (label && label !== before) text += labels[label];  // repeats are one letter, 0 is none
    before = label;
  }
  console.log(text.trim().split(/\s+/).join(" "));
}

main(process.argv.slice(2));
