// Sound into the page: files, and the microphone with its level.

// Samples of a file at its own rate (WAV) or at `rate`.
//
// Raises an error where the browser cannot decode it.
async function decodeFile(file, rate) {
  const buffer = await file.arrayBuffer(), wav = readWav(buffer);
  if (wav) return wav;
  const audio = await new OfflineAudioContext(1, 1, Math.max(rate, 3000)).decodeAudioData(buffer);
  const samples = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++) {
    audio.getChannelData(c).forEach((v, i) => { samples[i] += v / audio.numberOfChannels; });
  }
  return { samples, rate: audio.sampleRate };
}

// The microphone, as pieces of samples at `rate`; null where there is none. `lost()` is called when
// it is unplugged or taken away.
async function openMicrophone(rate, receive, lost) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1,
      echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch (error) {
    say(navigator.mediaDevices ? "No microphone: allow it in the browser, or drop a file."
      : "Browsers give the microphone only to https:// and localhost: open the page there, or "
        + "drop a file.");
    return null;
  }
  stream.getAudioTracks()[0].addEventListener("ended", lost);
  const context = new AudioContext(), resampler = new Resampler(context.sampleRate, rate);
  // Not an AudioWorklet: the policy of the page allows no script but its own, and a worklet is
  // loaded by address.
  const node = context.createScriptProcessor(2048, 1, 1);
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination);  // silent: nothing is written into its output
  node.onaudioprocess = ({ inputBuffer }) => {
    const piece = inputBuffer.getChannelData(0).slice();
    $("level").value = Math.max($("level").value * 0.9, clamp((decibels(piece) + 60) / 55, 0, 1));
    receive(resampler.push(piece));
  };
  await context.resume();
  return { stop() {  // gives the last samples
    node.onaudioprocess = null;
    node.disconnect();
    stream.getTracks().forEach((track) => track.stop());
    context.close();
    $("level").value = 0;
    receive(resampler.push(new Float32Array(0), true));
  } };
}

function say(text) {  // a screen reader announces what changes
  if ($("state").textContent !== text) $("state").textContent = text;
}

const timeOfDay = () => new Date().toTimeString().slice(0, 8);

// Buttons, files and keys of asr/pages/recorder.py. `microphone()` starts or stops, `take(file)`
// works on one file after the other.
function connectRecorder({ microphone, take }) {
  let files = Promise.resolve();
  const takeFiles = (list) => {
    for (const file of list) {
      files = files.then(() => take(file)).catch((error) => say(`${file.name}: ${error.message}`));
    }
  };
  $("record").addEventListener("click", microphone);
  $("file").addEventListener("change", (event) => {
    takeFiles([...event.target.files]);
    event.target.value = "";  // the same file may be chosen again
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") takeFiles([...event.dataTransfer.files]);
    });
  }
  addEventListener("beforeunload", (event) => {  // corrections are work
    if (Take.all.some((take) => take.unsaved)) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") Player.current?.stop();
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "r") $("record").click();
    if (event.key === "e" && Take.all.length) {
      event.preventDefault();
      Take.all.at(-1).correct();
    }
  });
}

function showRecording(running) {
  $("record").setAttribute("aria-pressed", String(running));
  $("record").textContent = running ? "Stop" : "Speak";
}
