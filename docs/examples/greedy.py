"""A WAV file to text with an exported model: onnxruntime and NumPy, nothing of keras-asr.

python greedy.py digits.samples.onnx talk.wav
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
known = session.get_modelmeta().custom_metadata_map
labels, rate = json.loads(known["labels"]), json.loads(known["sample_rate"])
with wave.open(sys.argv[2]) as file:
    if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (rate, 1, 2):
        sys.exit(f"{sys.argv[2]} must be mono, 16 bit, {rate} Hz.")
    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
logits, lengths = session.run(["logits", "num_logits"], {
    "samples": samples[np.newaxis], "num_samples": np.array([len(samples)], np.int32)})
path = logits[0, :lengths[0]].argmax(axis=1)
kept = [label for label, before in zip(path, [0, *path[:-1]], strict=True)
        if label and label != before]  # repeats are one letter, 0 is no letter
print(" ".join("".join(labels[label] for label in kept).split()))
