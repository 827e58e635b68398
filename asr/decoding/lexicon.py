"""Closed vocabulary: the best alignment path that spells words of a list, and nothing else.

In: log-probabilities. Out: one hypothesis. NumPy, numba.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis, hypothesis_from_path
from asr.errors import DataError, UsageError
from asr.kernels.jit import compiled
from asr.recipe import DecoderSettings
from asr.terminal import plural
from asr.text import normalize
from asr.text.reading import read_text_file
from asr.text.tokenizer import CharTokenizer

MAX_WORD = 100  # characters
MAX_CHARACTERS = 2_000_000  # of all words
MAX_CELLS = 500_000_000  # steps that the search remembers, 4 bytes each


class LexiconDecoder(Decoder):
    """Any number of words of a list, in any order, none included: silence reads "".

    Exact: no path that spells such a text scores higher. The search is Viterbi over a CTC
    automaton whose words share prefixes. An alphabet without a space can write one word at most.
    `score` is the log-probability of the best path plus `word_bonus` for every word; `confidence`
    is the geometric mean over the words of their confidences.

    Args:
        tokenizer: tokenizer of the model that made the logits.
        lexicon: the vocabulary; each word is spelled with the tokenizer's alphabet.
        word_bonus: natural log added for each word; positive favours more words.

    Raises:
        UsageError: no words, an empty word, or one with a space inside.
        TextError: a word with characters outside the alphabet.

    Example:
        >>> from asr.text.tokenizer import CharTokenizer
        >>> probabilities = np.array([[.1, .1, .6, .2], [.1, .1, .5, .3]])  # blank, space, a, b
        >>> LexiconDecoder(CharTokenizer(" ab"), ["b"]).decode(np.log(probabilities))[0].text
        'b'
    """

    uses = ("lexicon", "word_bonus")

    def __init__(self, tokenizer: CharTokenizer, lexicon: Iterable[str], word_bonus: float = 0.0):
        super().__init__(tokenizer)
        self.words = tuple(dict.fromkeys(lexicon))
        self.word_bonus = float(word_bonus)
        if not self.words:
            raise UsageError("A lexicon decoder needs at least one word.")
        check_words(self.words)
        spellings = [tokenizer.encode(word) for word in self.words]
        self._labels, self._parents, self._terminal = build_trie(spellings)
        self._space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1

    @classmethod
    def describe(cls, settings: DecoderSettings) -> str:
        """See `Decoder.describe`."""
        return f"lexicon of {plural(len(settings.lexicon), 'word')}, bonus {settings.word_bonus:g}"

    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """See `Decoder.search`; always one hypothesis.

        Raises:
            UsageError: the recording is too long for so many words.
        """
        if not self.fits(len(log_probs)):
            raise UsageError(f"{plural(len(self.words), 'word')} and "
                             f"{plural(len(log_probs), 'frame')} are too "
                             "much for the exact search of the lexicon decoder. Use the beam "
                             "decoder.", code="lexicon.size")
        path, score = _viterbi(log_probs, self._labels, self._parents, self._terminal, self._space,
                               self.word_bonus)
        return [hypothesis_from_path(path, log_probs, score, self.tokenizer)]

    def fits(self, num_frames: int) -> bool:
        """Whether the search of so many frames stays within memory."""
        return num_frames * (2 * len(self._labels) + 2) <= MAX_CELLS


def read_words(path: str | Path) -> list[str]:
    """The words of a text file (UTF-8), one a line; empty lines and lines with # are left out.

    Raises:
        DataError: the file cannot be read, holds no word, or a line holds several.
    """
    lines = read_text_file(path, "words", code="lexicon.file").splitlines()
    words = []
    for number, line in enumerate(lines, start=1):
        found = [] if line.lstrip().startswith("#") else line.split()
        if len(found) > 1:
            raise DataError(f"{path}:{number}: {line.strip()[:80]!r} are several words; write one "
                            "a line. Sentences are the matter of --grammar.", code="lexicon.file",
                            path=path)
        words += found
    if not words:
        raise DataError(f"{path} holds no word; write one a line.", code="lexicon.file", path=path)
    return words


def normalize_words(words: Sequence[str], normalizer: str) -> list[str]:
    """The words as the transcripts write them: "Weißenburg" is "weißenburg".

    Raises:
        UsageError: the normaliser makes nothing of a word, or several.
    """
    found = [normalize(word, normalizer).split() for word in words]
    for word, parts in zip(words, found, strict=True):
        if len(parts) != 1:
            raise UsageError(f"The normaliser {normalizer!r} writes the word {word[:40]!r} as "
                             f"{' '.join(parts)[:80]!r}; list what it writes, one word a line.",
                             code="lexicon.word")
    return list(dict.fromkeys(parts[0] for parts in found))


def check_words(words: Sequence[str]) -> None:
    """Refuse what is no word, and a vocabulary that would take the machine.

    Raises:
        UsageError: an empty word, one with a space inside, or more than the bounds above.
    """
    for word in words:
        if not 0 < len(word) <= MAX_WORD or any(c.isspace() for c in word):
            raise UsageError(f"The lexicon word {word[:40]!r} is empty, holds a space or has more "
                             f"than {MAX_WORD} characters; write one word an entry.",
                             code="lexicon.word")
    if sum(map(len, words)) > MAX_CHARACTERS:
        raise UsageError(f"A lexicon of {plural(len(words), 'word')} has more than "
                         f"{MAX_CHARACTERS:,} "
                         "characters; use a language model instead.", code="lexicon.size")


def build_trie(spellings: Iterable[Iterable[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A prefix tree as flat arrays; node 0 is the root, a parent comes before its children.

    Args:
        spellings: label sequences, none empty.

    Returns:
        labels (N,) int64, label on the way into the node, 0 for the root;
        parents (N,) int64, -1 for the root; terminal (N,) bool, a spelling ends here.
    """
    labels, parents, terminal = [0], [-1], [False]
    children: dict[tuple[int, int], int] = {}
    for spelling in spellings:
        node = 0
        for label in spelling:
            following = children.get((node, label))
            if following is None:
                following = children[node, label] = len(labels)
                labels.append(label)
                parents.append(node)
                terminal.append(False)
            node = following
        terminal[node] = True
    return (np.array(labels, dtype=np.int64), np.array(parents, dtype=np.int64),
            np.array(terminal, dtype=np.bool_))


@compiled
def _blank_after(state, before, after, came_from, score):
    """The state behind `state`: its label was written, then a blank."""
    blank = state + 1
    origin = blank if before[blank] >= before[state] else state
    after[blank] = before[origin] + score
    came_from[blank] = origin


@compiled
def _viterbi(log_probs, labels, parents, terminal, space, word_bonus):
    """The best path through the word loop and its score.

    Node k of the tree has two states: 2k "its label was just written" and 2k + 1 "then a blank".
    For the root, 1 is the silence before everything and 0 is unused; the space between words is
    the last node, N, with states 2N and 2N + 1. Ties go to the earlier candidate in the code.
    """
    num_frames = log_probs.shape[0]
    num_nodes = len(labels)
    num_states = 2 * num_nodes + 2
    space_state = 2 * num_nodes
    nothing = -np.inf
    before = np.full(num_states, nothing)
    after = np.full(num_states, nothing)
    came_from = np.zeros((num_frames, num_states), dtype=np.int32)
    before[1] = 0.0  # no frame read yet: as if in silence
    for t in range(num_frames):
        row = log_probs[t]
        after[0] = nothing
        after[1] = before[1] + row[0]
        came_from[t, 1] = 1
        best_end, end_state = nothing, -1
        for node in range(1, num_nodes):
            label, parent, state = labels[node], parents[node], 2 * node
            if terminal[node]:
                for candidate in (state, state + 1):
                    if before[candidate] > best_end:
                        best_end, end_state = before[candidate], candidate
            # A new label: from the parent's blank, or from its label if that is another one.
            best, origin = before[2 * parent + 1], 2 * parent + 1
            if parent == 0:
                for candidate in (space_state, space_state + 1):
                    if before[candidate] > best:
                        best, origin = before[candidate], candidate
                best += word_bonus
            elif labels[parent] != label and before[2 * parent] > best:
                best, origin = before[2 * parent], 2 * parent
            if before[state] > best:
                best, origin = before[state], state
            after[state] = best + row[label]
            came_from[t, state] = origin
            _blank_after(state, before, after, came_from[t], row[0])
        if space >= 0:
            if before[space_state] > best_end:
                best_end, end_state = before[space_state], space_state
            after[space_state] = best_end + row[space]
            came_from[t, space_state] = end_state
            _blank_after(space_state, before, after, came_from[t], row[0])
        before, after = after, before
    state = 1
    for node in range(1, num_nodes):
        if terminal[node]:
            for candidate in (2 * node, 2 * node + 1):
                if before[candidate] > before[state]:
                    state = candidate
    score = before[state]
    path = np.zeros(num_frames, dtype=np.int64)
    for t in range(num_frames - 1, -1, -1):
        if state % 2 == 0:
            path[t] = space if state == space_state else labels[state // 2]
        state = came_from[t, state]
    return path, score
