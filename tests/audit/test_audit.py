from __future__ import annotations

import json
import types

import numpy as np
import pytest
import soundfile

from asr.audio import resample
from asr.audit import Audit, find_leaks
from asr.audit.fingerprint import (
    COPY,
    Fingerprints,
    find_copies,
    fingerprint,
    fingerprints,
    waveform_similarity,
)
from asr.audit.silence import no_speech, with_silence, words_without_speech
from asr.audit.suspects import Suspect, rank_suspects
from asr.cli import run
from asr.errors import DataError, ManifestError
from asr.inference.long_pauses import LongPauses
from asr.inference.windows import Windows
from asr.manifest import Utterance, write_manifest
from asr.recipe import FeatureSettings, ModelSettings
from asr.scoring import score
from asr.text.tokenizer import CharTokenizer
from asr.transcript import Transcript

RATE = 16_000


def babble(seed, seconds=1.6):
    """Something like speech: voiced syllables with a pitch, formants and pauses of their own."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    audio = np.zeros_like(time)
    start = 0.05
    while start < seconds - 0.2:
        length = random.uniform(0.08, 0.25)
        inside = (time >= start) & (time < start + length)
        local = time[inside] - start
        pitch = random.uniform(90, 250) * (1 + random.uniform(-0.3, 0.3) * local)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        formants = random.uniform((300, 900), (800, 2_500))
        for harmonic in range(1, 16):
            loud = sum(np.exp(-((harmonic * pitch - f) / 200) ** 2) for f in formants)
            audio[inside] += loud * np.sin(harmonic * phase) * np.hanning(len(local))
        start += length + random.uniform(0.0, 0.15)
    return (0.3 * audio / np.abs(audio).max()).astype(np.float32)


def write_clip(path, audio, **options):
    soundfile.write(path, audio, RATE, **options)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """40 recordings in train, 10 in test; the last four of test are disguised copies."""
    folder = tmp_path_factory.mktemp("corpus")
    train = [Utterance(f"a{k}", write_clip(folder / f"a{k}.wav", babble(k)), f"sentence {k}", 1.6,
                       f"s{k % 5}") for k in range(40)]
    disguises = {
        "mp3": lambda x: write_clip(folder / "mp3.mp3", 0.4 * x, format="MP3",
                                    subtype="MPEG_LAYER_III"),
        "opus": lambda x: write_clip(folder / "opus.ogg", x, format="OGG", subtype="OPUS"),
        "loud": lambda x: write_clip(folder / "loud.wav", np.clip(4 * x, -1, 1)),
        "moved": lambda x: write_clip(folder / "moved.wav", np.concatenate(
            [np.zeros(1_200, np.float32), 0.5 * x[400:]])),
    }
    test = [Utterance(f"b{k}", write_clip(folder / f"b{k}.wav", babble(100 + k)), f"other {k}",
                      1.6, f"t{k % 3}") for k in range(6)]
    for k, (name, disguise) in enumerate(disguises.items()):
        path = disguise(babble(k))
        test.append(Utterance(name, path, f"copy {k}", soundfile.info(path).duration, "t9"))
    write_manifest(folder / "train.jsonl", train)
    write_manifest(folder / "test.jsonl", test)
    return folder


# --- fingerprints ------------------------------------------------------------------------------


def test_fingerprint_is_blind_to_level():
    audio = resample(babble(1), RATE, 8_000)
    print_ = fingerprint(audio)
    assert print_ @ fingerprint(0.01 * audio) == pytest.approx(2.0, abs=1e-3)
    assert np.linalg.norm(print_) == pytest.approx(2**0.5, abs=1e-5)
    assert (fingerprint(np.zeros(8_000, np.float32)) == 0).all()


def test_waveforms_of_copies_correlate_and_others_do_not(rng):
    audio = resample(babble(2), RATE, 4_000)
    noisy = audio + 0.1 * audio.std() * rng.standard_normal(len(audio)).astype(np.float32)
    assert waveform_similarity(audio, -0.1 * np.roll(noisy, 300)) > 0.95
    for other in range(3, 9):
        assert waveform_similarity(audio, resample(babble(other), RATE, 4_000)) < COPY - 0.1
    assert waveform_similarity(np.zeros(4_000, np.float32), audio) == 0.0


def test_disguised_copies_are_found_and_nothing_else(corpus):
    report = find_leaks([corpus / "train.jsonl", corpus / "test.jsonl"])
    assert {problem.id: problem.code for problem in report.leaks} == dict.fromkeys(
        ("mp3", "opus", "loud", "moved"), "split.copy")
    assert all(f"utterance 'a{k}'" in next(p.message for p in report.leaks if p.id == name)
               for k, name in enumerate(("mp3", "opus", "loud", "moved")))
    assert report.notes == []


def test_waveforms_beyond_the_budget_are_read_again(corpus):
    utterances = [Utterance(name, corpus / f"{name}.wav", "x", 1.6) for name in ("a2", "loud")]
    prints = fingerprints(utterances)
    kept, = find_copies(utterances, prints)
    read, = find_copies(utterances, Fingerprints(prints.vectors, prints.failed, {}))
    assert kept.similarity == pytest.approx(read.similarity, abs=0.01)


def test_copies_within_one_manifest_are_notes(corpus):
    utterances = [Utterance("one", corpus / "a2.wav", "x", 1.6),
                  Utterance("two", corpus / "loud.wav", "y", 1.6)]
    write_manifest(corpus / "twice.jsonl", utterances)
    report = find_leaks([corpus / "twice.jsonl"])
    assert report.leaks == [] and [note.code for note in report.notes] == ["audio.copy"]
    one = find_copies(utterances[:1], fingerprints(utterances[:1]))
    assert one == []


def test_leaks_by_hash_speaker_and_text(corpus):
    shared = [Utterance("c0", corpus / "a0.wav", "Sentence 3!", 1.6, "s1")]
    write_manifest(corpus / "leaky.jsonl", shared)
    manifests = [corpus / "train.jsonl", corpus / "leaky.jsonl"]
    report = find_leaks(manifests)
    assert sorted(problem.code for problem in report.leaks) == ["split.audio", "split.speaker"]
    assert [note.code for note in report.notes] == ["split.text"]
    relaxed = find_leaks(manifests, shared_speakers=True, fingerprint=False)
    assert [problem.code for problem in relaxed.leaks] == ["split.audio"]


def test_unreadable_recordings_are_counted(corpus):
    (corpus / "broken.wav").write_bytes((corpus / "a1.wav").read_bytes()[:50])
    write_manifest(corpus / "broken.jsonl", [Utterance("x", corpus / "broken.wav", "x", 1.6)])
    report = find_leaks([corpus / "broken.jsonl"])
    assert [note.code for note in report.notes] == ["audio.unreadable"]


def test_a_manifest_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(ManifestError, match="bad.jsonl:1"):
        find_leaks([tmp_path / "bad.jsonl"])


def test_the_official_split_of_fsdd_shares_its_speakers(shared_data, tmp_path):
    recordings = shared_data / "fsdd" / "recordings"
    for name, takes in (("test", range(1)), ("train", range(5, 7))):
        rows = [Utterance(f"{name}{path.stem}", path, path.stem[0],
                          soundfile.info(path).duration, path.stem.split("_")[1])
                for take in takes for path in sorted(recordings.glob(f"[0-2]_*_{take}.wav"))]
        write_manifest(tmp_path / f"{name}.jsonl", rows)
    report = find_leaks([tmp_path / "train.jsonl", tmp_path / "test.jsonl"],
                        audio_root=shared_data, fingerprint=False)
    assert {problem.code for problem in report.leaks} == {"split.speaker"}
    assert "also speaks in" in report.leaks[0].message


# --- suspects ----------------------------------------------------------------------------------


class Listener:
    """A recogniser that hears the true text through heavy noise: about half the letters wrong."""
    windows = Windows()
    warping = None
    pauses = LongPauses(FeatureSettings(), ModelSettings(), None)

    sample_rate = RATE
    tokenizer = CharTokenizer(" abcdefghijklmnopqrstuvwxyz")
    bundle = types.SimpleNamespace(text=types.SimpleNamespace(normalizer="basic"), bundle_hash="b")

    def __init__(self, truth, noise=1.8):
        self.truth, self.noise = truth, noise

    def features(self, audio):
        return np.array([[round(float(audio[0]) * 10_000)]])

    def seconds_trimmed(self, audio):
        return 0.0

    def logits_batch(self, features):
        return [self._logits(int(row[0, 0])) for row in features]

    def _logits(self, index):
        random = np.random.default_rng(index)
        labels = self.tokenizer.encode(self.truth[index])
        path = [label for letter in labels for label in (letter, 0, 0)]
        logits = self.noise * random.standard_normal((len(path), self.tokenizer.vocab_size))
        logits[np.arange(len(path)), path] += 4.0
        return logits.astype(np.float32)

    def decode(self, logits):
        best = logits.argmax(1)
        kept = [label for label, before in zip(best, [0, *best], strict=False)
                if label and label != before]
        return Transcript(self.tokenizer.decode(kept))


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    """400 sentences; the recording starts with its number, so that the listener knows it."""
    folder = tmp_path_factory.mktemp("doubtful")
    random = np.random.default_rng(5)
    letters = list("etaoinshrdlucmfw")
    texts = [" ".join("".join(random.choice(letters, random.integers(2, 7)))
                      for _ in range(random.integers(3, 8))) for _ in range(400)]
    utterances = []
    for index, text in enumerate(texts):
        audio = np.full(1_600, index / 10_000, np.float32) + 0.05
        audio[0] = index / 10_000
        path = folder / f"{index}.wav"
        soundfile.write(path, audio, RATE, subtype="FLOAT")
        utterances.append(Utterance(f"u{index}", path, text, 0.1))
    return utterances, texts


def with_text(utterance, text):
    return Utterance(utterance.id, utterance.audio, text, utterance.duration, utterance.speaker)


def test_swapped_transcripts_stand_among_the_first(doubtful):
    utterances, texts = doubtful
    for seed in range(3):
        chosen = np.random.default_rng(seed).choice(len(texts), 8, replace=False)
        swapped = list(utterances)
        for one, other in zip(chosen, np.roll(chosen, 1), strict=True):
            swapped[one] = with_text(utterances[one], texts[other])
        ranked = rank_suspects(Listener(texts), swapped)  # type: ignore[arg-type]
        listed = {suspect.utterance.id for suspect in Audit(suspects=ranked).listed}
        assert len(listed) == 20  # 5 %
        assert len(listed & {f"u{index}" for index in chosen}) >= 0.9 * len(chosen)
        assert len(ranked) == len(utterances)
    heard = score({s.utterance.id: texts[int(s.utterance.id[1:])] for s in ranked},
                  {s.utterance.id: s.transcript.text for s in ranked}, draws=100)
    assert heard.wer > 0.5  # although the listener gets most words wrong


def test_reasons_beside_the_doubt(doubtful, tmp_path):
    utterances, texts = doubtful
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(1_600), RATE)
    clipped = tmp_path / "clipped.wav"
    audio = np.ones(1_600, np.float32)
    audio[0] = 3 / 10_000
    soundfile.write(clipped, audio, RATE, subtype="FLOAT")
    rows = [Utterance("silent", silent, "text", 0.1), Utterance("gone", tmp_path / "x.wav", "t", 1),
            with_text(utterances[1], texts[1] + " 漢"),
            with_text(utterances[2], " ".join([texts[2]] * 9)),
            Utterance("clipped", clipped, texts[3], 0.1), *utterances[10:40]]
    ranked = {suspect.utterance.id: suspect for suspect in
              rank_suspects(Listener(texts), rows)}  # type: ignore[arg-type]
    assert ranked["silent"].doubt == np.inf and ranked["silent"].reasons[0] == "silent recording"
    assert ranked["gone"].reasons == ("audio.missing",)
    assert "'漢'" in ranked["u1"].reasons[0]
    assert ranked["u2"].doubt == np.inf and "cannot be said in this time" in ranked["u2"].reasons[0]
    assert "characters a second, others" in ranked["u2"].reasons[1]
    assert "100% of the samples clipped" in ranked["clipped"].reasons
    assert ranked["u10"].reasons == ()
    assert ranked["silent"].to_dict()["doubt"] is None
    assert ranked["u10"].to_dict()["doubt"] >= 0
    with pytest.raises(DataError, match="No utterance to examine"):
        rank_suspects(Listener(texts), [])  # type: ignore[arg-type]


# --- silence -----------------------------------------------------------------------------------


def test_sounds_without_speech_have_their_level_and_repeat():
    sounds = no_speech(2.0, RATE, seed=3)
    levels = {name: 20 * np.log10(max(1e-9, float(np.sqrt((audio**2).mean()))))
              for name, audio in sounds.items()}
    assert levels["silence"] < -120
    assert levels["quiet room"] == pytest.approx(-60, abs=0.5)
    assert levels["white noise"] == pytest.approx(-30, abs=0.5)
    assert levels["music"] == pytest.approx(-20, abs=1.0)
    assert all(audio.dtype == np.float32 and len(audio) == 2 * RATE for audio in sounds.values())
    again = no_speech(2.0, RATE, seed=3)
    assert all((sounds[name] == again[name]).all() for name in sounds)


class Inventor:
    """Writes a word a second of anything that is not digital silence."""

    sample_rate = RATE

    def transcribe_batch(self, clips):
        return [Transcript("word " * int(len(clip) / RATE) if np.abs(clip).max() else "")
                for clip in clips]

    def load_audio(self, path):
        return soundfile.read(path, dtype="float32")[0]


def test_invented_words_are_counted_per_minute(tmp_path):
    clip = write_clip(tmp_path / "n.wav", babble(1, 3.0))
    rates = words_without_speech(Inventor(), seconds=20, recordings=[clip])  # type: ignore
    assert rates["silence"] == 0.0
    assert {name: rate for name, rate in rates.items() if name != "silence"} == dict.fromkeys(
        ("quiet room", "white noise", "pink noise", "hum", "music", "recordings"), 60.0)
    with pytest.raises(DataError, match="seconds is 0"):
        words_without_speech(Inventor(), seconds=0)  # type: ignore


def test_the_receipt_carries_them_when_asked():
    result = with_silence(score(["a b"], ["a b"], draws=100), {"music": 81.0})
    assert "words per minute of music 81.0" in result.receipt.line()
    assert result.receipt.to_dict()["extra"] == {"words per minute of music": 81.0}


# --- command -----------------------------------------------------------------------------------


def test_command_finds_leaks(corpus, capsys):
    arguments = ["audit", str(corpus / "train.jsonl"), str(corpus / "test.jsonl")]
    assert run(arguments) == 4
    out, err = capsys.readouterr()
    assert out.count("[split.copy]") == 4 and "4 leaks, 0 notes" in err
    assert run([*arguments, "--json", "--no-fingerprint"]) == 0
    assert json.loads(capsys.readouterr().out)["leaks"] == []


@pytest.mark.parametrize("options, message", [
    (["--silence"], "need a model"), (["--report", "x.html"], "need a model"),
    (["--noise", "."], "--noise goes with --silence"),
    (["--bundle", "m.asr", "--silence", "--noise", "none"], "--noise none does not exist")])
def test_command_options_that_need_each_other(corpus, capsys, options, message):
    assert run(["audit", str(corpus / "test.jsonl"), *options]) == 2
    assert message in capsys.readouterr().err


def test_command_with_a_model_writes_a_report(doubtful, tmp_path, capsys, monkeypatch):
    utterances, texts = doubtful
    rows = [with_text(utterances[0], texts[1]), *utterances[1:40]]
    folder = utterances[0].audio.parent
    write_manifest(folder / "test.jsonl", rows)
    listener = Listener(texts)
    listener.transcribe_batch = lambda clips: [Transcript("") for _ in clips]
    monkeypatch.setattr("asr.recognizer.load", lambda bundle: listener)
    assert run(["audit", str(folder / "test.jsonl"), "--no-fingerprint", "--bundle", "x",
                "--silence", "--report", str(tmp_path / "audit.html")]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("suspect 1: u0: ") and "0 words per minute of music" in out
    page = (tmp_path / "audit.html").read_text()
    assert "2 of 40 references in doubt" in page and '"show":"flagged"' in page
    assert "words per minute of music" in page


def test_suspect_is_explained():
    suspect = Suspect(Utterance("a", "x.wav", "t", 1.0), Transcript("u"), 1.25, ())  # type: ignore
    assert suspect.to_dict() == {"id": "a", "audio": "x.wav", "reference": "t", "hypothesis": "u",
                                 "doubt": 1.25, "reasons": []}
