from __future__ import annotations

import csv
import html.parser
import json
import re

import numpy as np
import pytest
import soundfile
from chromium import BINARY, Page
from oracles_scoring import seeded_pairs

from asr.cli import run
from asr.errors import EXIT_USAGE
from asr.pages.charts import learning_curve
from asr.pages.clips import CLIP_RATE, encode_mp3, estimate_snr, read_clips
from asr.pages.frame import embed, escape, visible
from asr.pages.report import (
    comparison_report,
    pick_examples,
    read_curve,
    score_report,
    write_report,
)
from asr.scoring import Conditions, align_words, compare, load, save, score
from asr.scoring.breakdown import (
    by_duration,
    by_snr,
    by_speaker,
    by_speaking_rate,
    operations,
    word_errors,
)
from asr.transcript import Word

needs_chromium = pytest.mark.skipif(BINARY is None, reason="no Chromium to open the page with")

HOSTILE = ["<script>window.hacked=1</script>", "</script><script>window.hacked=1</script>",
           "<img src=x onerror=window.hacked=1>", "\" onmouseover=\"window.hacked=1", "<!--", "]]>",
           "'><svg onload=window.hacked=1>", "&lt;b&gt;", "\u202egnp.exe", "\x1b[31mred\x07",
           "=cmd|' /C calc'!A0", "${hacked}", "$title", "\u2028\u2029", "\ud800"]


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def parse(page):
    parser = Tags()
    parser.feed(page)
    parser.close()
    return parser


def tone(tmp_path, name, seconds=0.6):
    path = tmp_path / f"{name}.wav"
    time = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time) * (time > seconds / 3), 16_000)
    return path


@pytest.fixture
def result():
    pairs = seeded_pairs(120, seed=11)
    ids = [f"utt-{index:03d}" for index in range(len(pairs))]
    return score(dict(zip(ids, (pair[0] for pair in pairs), strict=True)),
                 dict(zip(ids, (pair[1] for pair in pairs), strict=True)),
                 speakers={name: f"s{index % 7}" for index, name in enumerate(ids)},
                 durations={name: 0.5 + index % 30 for index, name in enumerate(ids)},
                 skipped={"utt-x": "audio.truncated"}, draws=500,
                 conditions=Conditions(decoder="greedy", real_time_factor=0.02,
                                       extra={"words per minute of silence": 0.0}))


# --- parts -------------------------------------------------------------------------------------


def test_groups_hold_every_utterance_once(result):
    for groups in (by_speaker(result.rows), by_duration(result.rows),
                   by_speaking_rate(result.rows),
                   by_snr(result.rows, {row.id: 7.0 * n for n, row in enumerate(result.rows)})):
        assert sum(group.utterances for group in groups) == len(result.rows)
        assert sum(group.words.errors for group in groups) == result.words.errors
        assert sum(group.words.reference for group in groups) == result.words.reference
    worst = [group.words.rate for group in by_speaker(result.rows)]
    assert worst == sorted(worst, reverse=True)


def test_groups_by_hand():
    rows = score(["a", "b", "c"], ["a", "x", "c"], durations=[0.5, 2.0, 40.0], draws=100).rows
    assert [(group.label, group.utterances, group.words.errors) for group in by_duration(rows)] == [
        ("below 1 s", 1, 0), ("2 to 3 s", 1, 1), ("30 s and more", 1, 0)]
    assert by_speaker(rows) == []


def test_word_errors_by_hand():
    steps = [align_words("the cat sat", "a cat sat down"), align_words("the dog", "a"),
             align_words("", "uh uh")]
    errors = word_errors(steps)
    assert errors.confusions == [("the", "a", 2)]
    assert errors.missed == [("the", 2, 2), ("dog", 1, 1)]
    assert errors.invented == [("uh", 2), ("down", 1)]


@pytest.mark.parametrize("reference, hypothesis, expected", [
    ("a b c", "a x c d", "1=1s1=1i"), ("a b", "", "2d"), ("", "", ""), ("", "a b", "2i")])
def test_operations(reference, hypothesis, expected):
    assert operations(align_words(reference, hypothesis)) == expected


def test_examples_are_distinct_and_ordered(result):
    examples = pick_examples(result.rows)
    chosen = [index for indices in examples.values() for index in indices]
    assert len(chosen) == len(set(chosen))
    errors = [result.rows[index].words.errors for index in examples["worst"]]
    assert errors == sorted(errors, reverse=True) and errors[0] == max(
        row.words.errors for row in result.rows if row.words.reference)
    assert all(result.rows[index].words.errors == 0 for index in examples["best"])


def test_learning_curve(tmp_path):
    records = [{"event": "epoch", "epoch": e, "wer": 1 / e, "cer": None} for e in range(1, 6)]
    drawn = learning_curve(records)
    assert drawn.count("<polyline") == 1 and "WER 20.0 %" in drawn
    assert learning_curve(records[:1]) == "" and learning_curve([]) == ""
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records)
                                        + '{"event": "coach"}\n')
    assert read_curve(tmp_path / "log.jsonl") == records
    assert read_curve(tmp_path / "none") == []


@pytest.mark.parametrize("cer", [0.10, 0.105, 0.12, 0.0, 0.99])
def test_labels_at_the_end_of_the_curves_never_overlap(cer):
    drawn = learning_curve([{"epoch": e, "wer": 1 / e, "cer": 1 / e + cer - 0.1}
                            for e in range(1, 11)])
    labels = re.findall(r"<text class='f\d' x='([\d.]+)' y='([\d.]+)'>([WC]ER [\d.]+ %)", drawn)
    (x, y, _), (x2, y2, _) = labels
    assert x == x2 and abs(float(y) - float(y2)) >= 26.9  # letters of 12 units, 22 on a phone
    assert all(20 <= float(place) <= 242 for place in (y, y2))
    order = [text.split()[0] for _, _, text in sorted(labels, key=lambda one: float(one[1]))]
    assert order == (["WER", "CER"] if cer <= 0.1 else ["CER", "WER"])
    width = int(re.search(r"viewBox='0 0 (\d+)", drawn)[1])
    assert float(x) > 0.82 * width and "width='" not in drawn  # as wide as its card


@needs_chromium
@pytest.mark.parametrize("phone", [False, True])
def test_the_learning_curve_fills_its_card(tmp_path, result, phone):
    curve = [{"epoch": e, "wer": 1 / e, "cer": 1 / e - 0.01} for e in range(1, 11)]
    write_report(tmp_path / "a.html", result, tables=False, curve=curve)
    with Page() as page:
        page.size(*((390, 844) if phone else (1300, 900)), phone=phone)
        page.open(tmp_path / "a.html")
        boxes = page.run("Array.from(document.querySelectorAll('#curve .card, #curve svg, #curve "
                         "text.f0, #curve text.f1'), element => { const box = element."
                         "getBoundingClientRect(); return [box.left, box.top, box.right, "
                         "box.bottom]; })")
    card, picture, one, other = boxes
    assert picture[2] - picture[0] > 0.9 * (card[2] - card[0])
    assert one[3] <= other[1] + 1 or other[3] <= one[1] + 1  # the labels' boxes do not meet
    assert max(one[2], other[2]) <= picture[2]


def test_snr_follows_the_noise(rng):
    time = np.arange(32_000) / 16_000
    speech = np.sin(2 * np.pi * 300 * time) * (np.sin(2 * np.pi * 2 * time) > 0)
    estimates = [estimate_snr(speech + 10 ** (-snr / 20) * rng.standard_normal(32_000))
                 for snr in (0, 10, 20, 30)]
    assert estimates == sorted(estimates)
    assert all(abs(b - a - 10) < 4 for a, b in zip(estimates, estimates[1:], strict=False))
    assert estimate_snr(np.zeros(16_000, np.float32)) == -10.0
    assert estimate_snr(np.zeros(10, np.float32)) == 0.0


def test_clips_keep_to_their_budget(tmp_path):
    audio = {name: tone(tmp_path, name) for name in "abcd"}
    audio["broken"] = tmp_path / "broken.wav"
    audio["broken"].write_bytes(b"RIFF")
    one = len(encode_mp3(np.zeros(int(0.6 * CLIP_RATE), np.float32)))
    clips = read_clips(audio, ["b", "broken", "none", "a", "c", "d"], max_bytes=3 * one)
    assert list(clips.mp3)[0] == "b" and sum(map(len, clips.mp3.values())) <= 3 * one
    assert clips.left_out == 4 - len(clips.mp3) > 0
    assert clips.failed["broken"].startswith("audio.")
    assert set(clips.snr) == set("abcd")
    assert read_clips(audio, "ab", max_bytes=0, measure_snr=False).left_out == 2


# --- the file ----------------------------------------------------------------------------------


def test_page_stands_alone(result):
    page = score_report(result, title="dev")
    assert not re.search(r"(?:src|href)=(?!['\"]?(?:data:|#))", page.split("<script>")[0])
    assert "url(" not in page and "@import" not in page and "http://" not in page
    assert "https://" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]
    assert str(result).split(" (")[0] in parse(page).text[-1] + " ".join(parse(page).text)


def test_page_carries_the_receipt(result):
    text = " ".join(parse(score_report(result)).text)
    for part in (result.receipt.normalizer, result.receipt.reference_hash, "greedy", "0.02",
                 "words per minute of silence", "utt-x", "audio.truncated", "By speaker",
                 "By duration", "Confused"):
        assert part in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    harmless = score({"a": "b c"}, {"a": "b d"}, speakers={"a": "s"}, normalizer="none",
                     skipped={"x": "y"}, draws=100)
    harmful = score({"a": f"b {text}"}, {"a": f"{text} d"}, speakers={"a": text},
                    normalizer="none", skipped={text: text}, draws=100,
                    conditions=Conditions(decoder=text, extra={text: text}))
    for page, like in ((score_report(harmful, title=text, flags={"a": text}),
                        score_report(harmless, title="t", flags={"a": "f"})),
                       (comparison_report(compare(harmful, harmful, names=(text, "B")), harmful,
                                          harmful),
                        comparison_report(compare(harmless, harmless), harmless, harmless))):
        found, expected = parse(page), parse(like)
        assert set(found.tags) == set(expected.tags)
        assert found.tags.count("script") == expected.tags.count("script") == 2
        assert not any(name.startswith("on") for name, _ in found.attributes)
        data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
        assert data and not set("<>&\u2028\u2029") & set(data[1])
        rows = json.loads(data[1])["rows"]
        assert all(word in rows[0][5] for word in visible(text).split())
        page.encode()  # no half of a surrogate pair


def test_visible_and_escape():
    assert visible("a\x00\x1b\x7f\x85\u202e\ud800") == "a␀␛␡\ufffd\ufffd\ufffd"
    assert escape("<a href='x' title=\"y\">&") == (
        "&lt;a href=&#x27;x&#x27; title=&quot;y&quot;&gt;&amp;")
    assert embed({"a": "</script>&\u2028"}) == '{"a":"\\u003c/script\\u003e\\u0026\\u2028"}'


def test_written_files(tmp_path, result):
    paths = write_report(tmp_path / "dev.html", result)
    assert [path.name for path in paths] == ["dev.html", "dev.csv", "dev.jsonl",
                                             "dev.receipt.json"]
    assert load(tmp_path / "dev.jsonl")[0].words == result.words
    with open(tmp_path / "dev.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == len(result.rows) + 1
    assert write_report(tmp_path / "b.html", result, tables=False) == [tmp_path / "b.html"]


@pytest.mark.parametrize("count, limit", [
    (2_000, 500_000), pytest.param(20_000, 5_000_000, marks=pytest.mark.slow)])
def test_many_utterances_stay_small_and_quick(tmp_path, count, limit):
    pairs = seeded_pairs(count, seed=2)
    large = score([pair[0] for pair in pairs], [pair[1] for pair in pairs], draws=100)
    write_report(tmp_path / "large.html", large, tables=False)
    assert (tmp_path / "large.html").stat().st_size < limit
    if BINARY:
        with Page() as page:
            page.open(tmp_path / "large.html")
            page.wait("document.querySelectorAll('#list tbody').length === 25")
            milliseconds = page.run("(() => { const start = performance.now(); sortBy('id'); "
                                    "sortBy('wer'); return performance.now() - start; })()")
            assert milliseconds < 2_000
            assert page.problems == []


def test_compare_command_writes_a_report(tmp_path, result):
    save(result, tmp_path / "a.jsonl")
    save(result, tmp_path / "b.jsonl")
    assert run(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--report",
                str(tmp_path / "c.html"), "--draws", "200"]) == 0
    assert "cannot be told apart" in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize("option", ["--per-utterance", "--csv", "--pra", "--report"])
def test_a_result_never_takes_the_place_of_a_reference(tmp_path, capsys, option):
    reference, link = tmp_path / "reference.txt", tmp_path / "link.txt"
    reference.write_text("one two\n", encoding="utf-8")
    link.symlink_to(reference)
    (tmp_path / "hypothesis.txt").write_text("one too\n", encoding="utf-8")
    pair = [str(reference), str(tmp_path / "hypothesis.txt")]
    assert run(["score", *pair, option, str(link)]) == EXIT_USAGE
    assert run(["compare", pair[1], pair[1], "--reference", pair[0], "--report",
                str(reference)]) == EXIT_USAGE
    assert capsys.readouterr().err.count("is read by this command") == 2
    assert reference.read_text(encoding="utf-8") == "one two\n"


def test_score_command_writes_a_report_with_recordings(tmp_path):
    (tmp_path / "r.trn").write_text("one two (u1)\nthree (u2)\n")
    (tmp_path / "h.trn").write_text("one too (u1)\nthree (u2)\n")
    (tmp_path / "audio").mkdir()
    tone(tmp_path / "audio", "u1")
    assert run(["score", str(tmp_path / "r.trn"), str(tmp_path / "h.trn"), "--report",
                str(tmp_path / "s.html"), "--audio", str(tmp_path / "audio")]) == 0
    page = (tmp_path / "s.html").read_text()
    assert "1 recording embedded" in page and "WER 33.33 %" in page
    assert run(["compare", str(tmp_path / "h.trn"), str(tmp_path / "r.trn"), "--reference",
                str(tmp_path / "r.trn"), "--report", str(tmp_path / "c.html"), "--audio",
                str(tmp_path / "audio")]) == 0
    assert "1 recording embedded" in (tmp_path / "c.html").read_text()


# --- in a browser ------------------------------------------------------------------------------

ROWS = "[...document.querySelectorAll('#list tbody')]"


@pytest.fixture(scope="module")
def page():
    with Page() as opened:
        yield opened


@pytest.fixture
def report(tmp_path, result):
    audio = {row.id: tone(tmp_path, row.id) for row in result.rows[:6]}
    words = {row.id: [Word("word", 0.2, 0.4, 0.9)] for row in result.rows[:6]}
    write_report(tmp_path / "r.html", result, audio=audio, words=words, tables=False,
                 flags={result.rows[3].id: "reference doubtful"})
    return tmp_path / "r.html"


@needs_chromium
def test_sorting_searching_and_paging(page, report, result):
    page.problems.clear()
    page.open(report)
    assert page.run(f"{ROWS}.length") == 25
    assert page.requests == [report.as_uri()[:80]]  # nothing else was asked for
    errors = page.run(f"{ROWS}.map((body) => rows[body.dataset.index].systems[0].errors)")
    assert errors == sorted((row.words.errors for row in result.rows), reverse=True)[:25]
    page.run("document.querySelector('th[data-key=id] button').click()")
    ids = page.run(f"{ROWS}.map((body) => body.querySelector('.id bdi').textContent)")
    assert ids == sorted(row.id for row in result.rows)[:25]
    assert page.run("document.querySelector('th[data-key=id]').ariaSort") == "ascending"
    page.run("document.getElementById('next').click()")
    assert "26–50 of 120" in page.run("document.getElementById('count').textContent")
    page.run("(() => { const box = document.getElementById('search'); box.value = 'UTT-01'; "
             "box.dispatchEvent(new Event('input')); })()")
    assert page.run(f"{ROWS}.length") == 10
    page.run("(() => { const box = document.getElementById('search'); box.value = 'qqq'; "
             "box.dispatchEvent(new Event('input')); })()")
    assert page.run("document.getElementById('count').textContent") == "No utterance matches."
    page.run("(() => { document.getElementById('search').value = ''; state.query = ''; "
             "const show = document.getElementById('show'); show.value = 'flagged'; "
             "show.dispatchEvent(new Event('change')); })()")
    assert page.run(f"{ROWS}.length") == 1
    assert "reference doubtful" in page.run(f"{ROWS}[0].textContent")
    assert page.problems == []


@needs_chromium
def test_alignment_shows_both_sides(page, report, result):
    page.open(report)
    for body in page.run(f"{ROWS}.map((body) => [body.querySelector('.id bdi').textContent, "
                         "[...body.querySelectorAll('.r')].map((n) => n.textContent), "
                         "[...body.querySelectorAll('.w:not(.e) .h')].map((n) => n.textContent)])"):
        row = next(row for row in result.rows if row.id == body[0])
        assert [word for word in body[1] if word != "+"] == row.normalized_reference.split()
        assert len(body[2]) == row.words.errors


@needs_chromium
def test_texts_are_shown_as_written_where_they_are_compared_in_another_form(page, tmp_path):
    written = score({"a": "The ʼokina, no. 5!", "b": "one two"},
                    {"a": "the 'okina <b>no</b> five", "b": "one two"}, normalizer="basic",
                    draws=100)
    write_report(tmp_path / "w.html", written, tables=False)
    page.problems.clear()
    page.open(tmp_path / "w.html")
    shown = dict(page.run(f"{ROWS}.map((body) => [body.querySelector('.id bdi').textContent, "
                          "[...body.querySelectorAll('.written bdi')].map(n => n.textContent)])"))
    assert shown == {"a": ["The ʼokina, no. 5!", "the 'okina <b>no</b> five"], "b": []}
    page.run("(() => { const box = document.getElementById('search'); box.value = 'NO. 5!'; "
             "box.dispatchEvent(new Event('input')); })()")
    assert page.run(f"{ROWS}.length") == 1
    assert page.problems == []


@needs_chromium
def test_a_clip_plays_and_its_spectrogram_is_drawn(page, report):
    page.problems.clear()
    page.open(report)
    page.run("(() => { const show = document.getElementById('show'); show.value = 'sound'; "
             "show.dispatchEvent(new Event('change')); })()")
    page.run(f"{ROWS}[0].querySelector('.play').click()")
    page.wait("document.querySelector('canvas[data-drawn]') !== null")
    page.wait("document.querySelector('audio').currentTime > 0")
    assert page.run("document.querySelector('audio').error") is None
    assert 0.5 < page.run("document.querySelector('audio').duration") < 0.8
    bright = page.run("""(() => {
      const canvas = document.querySelector('canvas[data-drawn]'), g = canvas.getContext('2d');
      const mean = (x, y) => g.getImageData(x, y, 10, 6).data.reduce((a, b) => a + b) / 240;
      const tall = canvas.height - 22;
      return [mean(canvas.width * 0.7, tall * (1 - 440 / 8000) - 3), mean(canvas.width * 0.7, 20)];
    })()""")
    assert bright[0] > bright[1] + 20  # the tone is where 440 Hz belongs
    page.run(f"{ROWS}[0].querySelector('.play').click()")
    assert page.run("document.querySelector('.sound')") is None
    assert page.problems == []


@needs_chromium
def test_keys(page, report):
    page.open(report)
    page.key("/")
    assert page.run("document.activeElement.id") == "search"
    page.key("Escape")
    page.key("j")
    page.key("j")
    assert page.run("document.activeElement === document.querySelectorAll('#list tbody')[1]")
    page.key("k")
    assert page.run("document.activeElement === document.querySelectorAll('#list tbody')[0]")
    page.key("n")
    assert "26–50" in page.run("document.getElementById('count').textContent")
    page.key("p")
    assert "1–25" in page.run("document.getElementById('count').textContent")
    page.run("(() => { const show = document.getElementById('show'); show.value = 'sound'; "
             "show.dispatchEvent(new Event('change')); document.activeElement.blur(); })()")
    page.key("j")
    page.key("Enter")
    page.wait("document.querySelector('audio') !== null")


@needs_chromium
def test_phone_and_dark(page, report):
    colour = "getComputedStyle(document.body).backgroundColor"
    page.size(390, 844, phone=True)
    page.open(report)
    assert page.run("document.documentElement.scrollWidth") <= 390
    light = page.run(colour)
    page.size(390, 844, phone=True, dark=True)
    dark = page.run(colour)
    assert light != dark
    page.run("document.getElementById('theme').click()")
    assert page.run(colour) == light
    page.size(1280, 900)
    assert page.run("document.documentElement.scrollWidth") <= 1280


@needs_chromium
def test_hostile_text_is_not_run(page, tmp_path):
    texts = {f"{index} {text}": text for index, text in enumerate(HOSTILE)}
    harmful = score({"x": "y", **texts}, {"x": "y", **dict.fromkeys(texts, "<i>heard</i>")},
                    speakers=texts, normalizer="none", skipped=dict(enumerate_reasons()),
                    draws=100)
    (tmp_path / "h.html").write_text(score_report(harmful, title=HOSTILE[1], flags=texts))
    (tmp_path / "c.html").write_text(comparison_report(
        compare(harmful, harmful, names=(HOSTILE[1], HOSTILE[2])), harmful, harmful))
    page.problems.clear()
    for name in ("h.html", "c.html"):
        page.open(tmp_path / name)
        page.run("(() => { state.size = 200; refresh(); })()")
        assert page.run("typeof window.hacked") == "undefined"
        assert page.run(f"{ROWS}.length") == len(HOSTILE) + 1
        assert page.run("document.querySelectorAll('#list img, #list script, #list i, #list b')"
                        ".length") == 0
        assert HOSTILE[0] in page.run("document.getElementById('list').textContent")
    assert page.problems == []


def enumerate_reasons():
    return ((f"skipped {index} {text}", text) for index, text in enumerate(HOSTILE))


@needs_chromium
def test_comparison_shows_the_changes_first(page, tmp_path):
    references = {f"u{index}": "one two three four" for index in range(60)}
    old = score(references, {name: "one two" for name in references}, draws=100)
    new = score(references, {name: "one two three" if name != "u7" else "" for name in references},
                draws=100)
    comparison = compare(old, new, names=("old", "new"), draws=500)
    (tmp_path / "c.html").write_text(comparison_report(comparison, old, new))
    page.problems.clear()
    page.open(tmp_path / "c.html")
    assert comparison.verdict in page.run("document.querySelector('.headline').textContent")
    heads = page.run("[...document.querySelectorAll('#list th')].map((n) => n.textContent)")
    assert heads == ["Utterance", "Words", "Errors old", "Errors new", "Change"]
    page.run("(() => { const show = document.getElementById('show'); show.value = 'worse'; "
             "show.dispatchEvent(new Event('change')); })()")
    assert page.run(f"{ROWS}.map((body) => body.querySelector('.id').textContent)") == ["u7"]
    assert page.problems == []
