"""Random files, and what sclite makes of them.

    python tests/scoring/sclite_files.py      writes sclite_values.json anew; needs sclite

Made with sclite 2.10 of SCTK 2.4.10 (Debian's package sctk, version 2.4.10-20151007-1312Z):
`sctk sclite -r ref.trn trn -h hyp.trn trn -i spu_id -o pra stdout -f 0`, for times `stm` and `ctm`,
with the options that are named. The files sctk_tests.ref and .hyp are SCTK's own test data
(src/sclite/testdata/tests.ref and tests.hyp, a work of the US government), without their comments.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

VALUES = Path(__file__).with_name("sclite_values.json")
FILES = 200
IN_FULL = 5  # of these each utterance is stored
CHARACTERS = 20  # so many files are also aligned by characters (-c)
PUBLISHED = [Path(__file__).with_name(f"sctk_tests.{side}") for side in ("ref", "hyp")]
OPTIONS = [[], ["-F"], ["-D"], ["-F", "-D"]]
WORDS = [["a", "b", "c"], ["ab", "abc", "bca", "cab", "b"],
         "the cat sat on a mat and it was not its hat".split()]
MIXED = dict(zip(sorted({word for words in WORDS for word in words}), (
    "你 好 我们 用 python 手机x é-b 4g 它 不 ü".split() * 2), strict=False))
COMMAND = next(([path, *rest] for path, *rest in
                ((shutil.which("sctk"), "sclite"), (shutil.which("sclite"),)) if path), None)


def trn_files(seed: int, *, alternations: bool = True) -> tuple[str, str]:
    """A reference and a hypothesis in trn of 40 to 60 utterances."""
    draw = random.Random(seed)
    words = WORDS[seed % 3]
    references, hypotheses = [], []
    for number in range(draw.randint(40, 60)):
        spoken = [draw.choice(words) for _ in range(draw.randint(0, 12))]
        heard = list(changed(draw, spoken, words))
        if alternations and seed % 2 and draw.random() < 0.2:
            spoken.insert(draw.randint(0, len(spoken)), alternation(draw, words))
        name = f"({'xyz'[number % 3]}_{number})"
        references.append(" ".join([*spoken, name]))
        hypotheses.append(" ".join([*heard, name]))
    draw.shuffle(hypotheses)
    return "".join(line + "\n" for line in references), "".join(line + "\n" for line in hypotheses)


def alternation(draw: random.Random, words: list[str], depth: int = 0) -> str:
    """Such as { a b / @ / { c / d } e }."""
    parts = [draw.choice([draw.choice(words), draw.choice(words) + " " + draw.choice(words), "@"])
             if depth or draw.random() < 0.8 else alternation(draw, words, 1)
             for _ in range(draw.randint(2, 3))]
    return "{ " + " / ".join(parts) + " }"


def changed(draw: random.Random, spoken: list[str], words: list[str]):
    """What a poor recogniser hears."""
    for word in spoken:
        roll = draw.random()
        if roll > 0.15:
            yield word if roll > 0.4 else draw.choice(words)
        if roll > 0.85:
            yield draw.choice(words)


def timed_files(seed: int) -> tuple[str, str]:
    """An stm and a ctm with gaps, overlaps, ignored segments and words on boundaries."""
    draw = random.Random(1_000 + seed)
    words = WORDS[seed % 3]
    segments, spoken = [";; made at random"], []
    for file in ("one", "two")[:1 + seed % 2]:
        for channel in ("A", "B")[:draw.randint(1, 2)]:
            clock = 0.0
            for _ in range(draw.randint(20, 30)):
                start = clock + draw.choice([0, 0, 0.5, 2.0])
                end = start + draw.randint(1, 4)
                text = [draw.choice(words) for _ in range(draw.randint(0, 6))]
                if draw.random() < 0.1:
                    text.append(alternation(draw, words))
                if draw.random() < 0.1:
                    text = ["ignore_time_segment_in_scoring"]
                segments.append(f"{file} {channel} {draw.choice('pqr')} {start:.2f} {end:.2f} "
                                f"<o,f0> {' '.join(text)}")
                clock = end if draw.random() < 0.8 else start + 0.5
            when = -0.5
            while when < clock + 3:
                when += draw.choice([0.25, 0.5, 0.75])
                length = draw.choice([0.25, 0.5, 0.5, -0.25])
                spoken.append(f"{file} {channel} {when:.2f} {length:.2f} {draw.choice(words)} 0.5")
    return "\n".join(segments) + "\n", "\n".join(spoken) + "\n"


def mixed_files(seed: int) -> tuple[str, str, list[str]]:
    """trn with Chinese and English words, some optional, and the options."""
    draw = random.Random(3_000 + seed)

    def changed_words(text: str) -> str:
        lines = [line.rpartition(" ") for line in text.splitlines()]
        return "".join(" ".join([*(optional(draw, MIXED[word]) if word in MIXED else word
                                   for word in words.split()), name]) + "\n"
                       for words, _, name in lines)

    reference, hypothesis = map(changed_words, trn_files(1 + 2 * seed))
    return reference, hypothesis, ["-e", "utf-8", "-c", "NOASCII"] + ["-D"] * (seed % 2)


def character_files(seed: int) -> tuple[str, str, list[str]]:
    """trn with alternatives of several words of one to four characters, and the options.

    Many readings cost the same. Optional words are in no alternation: there sclite -c -D does not
    come to an end.
    """
    draw = random.Random(4_000 + seed)
    letters = ("abc", "你好我")[seed % 2]

    def word() -> str:
        if seed % 2 and draw.random() < 0.3:
            return draw.choice(["x", "yz", "x你"])
        return "".join(draw.choices(letters, k=draw.choice([1, 1, 2, 2, 3, 4])))

    def variants(depth: int) -> str:
        parts = ["@" if draw.random() < 0.15 else
                 f"{variants(1)} {word()}" if not depth and draw.random() < 0.2 else
                 " ".join(word() for _ in range(draw.randint(1, 3)))
                 for _ in range(draw.randint(2, 3))]
        return "{ " + " / ".join(parts) + " }"

    def text(share: float) -> str:
        return " ".join(variants(0) if draw.random() < share else optional(draw, word())
                        for _ in range(draw.randint(0, 6)))

    sides = ["".join(f"{text(share)} (s_{number})\n" for number in range(40))
             for share in (0.35, 0.1)]
    options = ["-e", "utf-8", "-c", *["NOASCII"] * (seed % 4 > 1), *["-D"] * (seed % 8 > 3)]
    return sides[0], sides[1], options


def marked_files(seed: int) -> tuple[str, str, str, list[str]]:
    """Alternations and optional words in ctm: a reference, its format, a hypothesis, options.

    Every second reference is an stm. An empty alternative is the last one (after an earlier one
    sclite loses a word), and no ctm has 50 lines (of longer ones sclite aligns pieces).
    """
    draw = random.Random(2_000 + seed)
    words, kind = WORDS[seed % 3], ("stm", "ctm")[seed % 2]
    reference = marked_ctm(draw, words)
    if kind == "stm":
        ends = [0, *sorted(draw.sample(range(1, 12), 4)), 12]
        reference = "".join(
            f"one A {draw.choice('pq')} {start} {end} "
            f"{' '.join(optional(draw, draw.choice(words)) for _ in range(draw.randint(0, 6)))}\n"
            for start, end in zip(ends, ends[1:], strict=False))
    return reference, kind, marked_ctm(draw, words), ["-D"] * (seed % 4 > 1)


def marked_ctm(draw: random.Random, words: list[str]) -> str:
    lines, clock = [], 0.25
    most = draw.randint(10, 36)
    while len(lines) < most:
        variants = [[draw.choice(words)]]
        if draw.random() < 0.1:
            variants = [[draw.choice(words) for _ in range(draw.randint(1, 2))]
                        for _ in range(draw.randint(2, 3))]
            variants += [[]] * (draw.random() < 0.5)
        found = []
        for variant in variants:
            when = clock
            for word in variant:
                length = draw.choice([0.25, 0.5])
                found.append(f"{when:.2f} {length:.2f} {optional(draw, word)}")
                when += length
            found.append("* * <ALT>")
        clock = when + draw.choice([0, 0, 0.25, 0.5])
        lines += (found[:1] if len(variants) == 1 else
                  ["* * <ALT_BEGIN>", *found[:-1], "* * <ALT_END>"])
    return "".join(f"one A {line}\n" for line in lines)


def optional(draw: random.Random, word: str) -> str:
    return f"({word})" if draw.random() < 0.15 and word.isalnum() else word


def run_sclite(reference: str, hypothesis: str, formats: tuple[str, str],
               *options: str, encoding: str = "utf-8") -> dict[str, list[int]]:
    """Of each utterance what is correct, substituted, deleted and inserted."""
    assert COMMAND
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.{suffix}") for name, suffix in
                 zip(("ref", "hyp"), formats, strict=True)]
        for path, text in zip(paths, (reference, hypothesis), strict=True):
            path.write_text(text, encoding)
        done = subprocess.run(
            [*COMMAND, "-r", str(paths[0]), formats[0], "-h", str(paths[1]), formats[1],
             "-i", "spu_id", "-o", "pra", "stdout", "-f", "0", *options],
            capture_output=True, encoding=encoding, check=True, timeout=60)
    found = re.findall(r"^id: \((\S+)\)\n(?:(?:Labels|File|Channel): .*\n)*"
                       r"Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)$", done.stdout,
                       re.MULTILINE)
    return {name: [int(number) for number in numbers] for name, *numbers in found}


def totals(found: dict[str, list[int]]) -> list[int]:
    """Correct, substituted, deleted, inserted words."""
    return [sum(numbers[k] for numbers in found.values()) for k in range(4)]


def main() -> None:
    trn = [run_sclite(*trn_files(seed), ("trn", "trn")) for seed in range(FILES)]
    plain = [run_sclite(*trn_files(seed, alternations=False), ("trn", "trn"))
             for seed in range(FILES)]
    letters = [run_sclite(*trn_files(seed, alternations=False), ("trn", "trn"), "-c")
               for seed in range(CHARACTERS)]
    timed = [run_sclite(*timed_files(seed), ("stm", "ctm")) for seed in range(FILES)]
    published = {" ".join(options): run_sclite(*(path.read_text() for path in PUBLISHED),
                                               ("trn", "trn"), *options) for options in OPTIONS}
    marked = [run_sclite(reference, hypothesis, (kind, "ctm"), *options)
              for reference, kind, hypothesis, options in map(marked_files, range(FILES))]
    mixed = [run_sclite(reference, hypothesis, ("trn", "trn"), *options)
             for reference, hypothesis, options in map(mixed_files, range(CHARACTERS))]
    units = [run_sclite(reference, hypothesis, ("trn", "trn"), *options)
             for reference, hypothesis, options in map(character_files, range(CHARACTERS))]
    lines = [f'"{name}": {json.dumps([totals(found) for found in files])}' for name, files in
             (("trn", trn), ("plain", plain), ("characters", letters), ("timed", timed),
              ("marked", marked), ("mixed", mixed), ("units", units))]
    lines += [f'"utterances": {json.dumps(trn[:IN_FULL])}',
              f'"published": {json.dumps(published)}']
    VALUES.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
