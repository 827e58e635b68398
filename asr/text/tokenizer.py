"""Characters to integer labels and back, with 0 kept for the CTC blank.

In: a normalised transcript. Out: labels in 1 .. V - 1. The standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asr.errors import TextError, UsageError

BLANK_ID = 0


class CharTokenizer:
    """One label a character; label k is the k-th character of the alphabet, 0 is the blank.

    Args:
        alphabet: the characters, each once, in label order. One code point each, so text is
            compared in Unicode NFC (the normalisers of `asr.text` see to it).

    Raises:
        UsageError: the alphabet is empty or repeats a character.

    Example:
        >>> tokenizer = CharTokenizer(" abc")
        >>> tokenizer.encode("a cab")
        [2, 1, 4, 2, 3]
        >>> tokenizer.decode([2, 1, 4, 2, 3])
        'a cab'
    """

    blank_id = BLANK_ID

    def __init__(self, alphabet: str):
        if not alphabet:
            raise UsageError("The alphabet is empty; give at least one character.")
        repeated = sorted({c for c in alphabet if alphabet.count(c) > 1})
        if repeated:
            raise UsageError(f"The alphabet repeats {', '.join(map(describe, repeated))}; "
                             "write each character once.")
        self.alphabet = alphabet
        self._label = {character: index + 1 for index, character in enumerate(alphabet)}
        self._character = dict(enumerate(alphabet, start=1))

    @property
    def vocab_size(self) -> int:
        """V, the number of classes, the blank included."""
        return len(self.alphabet) + 1

    def encode(self, text: str) -> list[int]:
        """Labels of a transcript.

        Raises:
            TextError: characters outside the alphabet, each named with its code point.
        """
        unknown = self.unknown(text)
        if unknown:
            are = "is" if len(unknown) == 1 else "are"
            raise TextError(f"{text!r} holds {', '.join(map(describe, unknown))}, which {are} not "
                            f"in the alphabet {self.alphabet!r}. Normalise the text, extend the "
                            "alphabet, or drop the utterance.", code="text.out_of_alphabet")
        return [self._label[character] for character in text]

    def decode(self, labels: Iterable[int]) -> str:
        """The text of labels; a blank or a label outside the vocabulary is an error."""
        try:
            return "".join([self._character[label] for label in labels])
        except KeyError as error:
            raise UsageError(f"Label {error.args[0]} is outside 1 .. {self.vocab_size - 1}; 0 is "
                             "the blank and is removed before decoding.") from None

    def unknown(self, text: str) -> list[str]:
        """The characters of a text that the alphabet lacks, each once, in order of appearance."""
        return list(dict.fromkeys(c for c in text if c not in self._label))

    def require_writable(self, what: str, text: str) -> None:
        """Refuse a text that the recogniser is to look for but can never write.

        Args:
            what: the text is, such as "The hot word".

        Raises:
            TextError: characters outside the alphabet, each named with its code point.
        """
        if unknown := self.unknown(text):
            raise TextError(f"{what} {text!r} holds {', '.join(map(describe, unknown))}, which "
                            "this recogniser never writes: write words as transcripts have them. "
                            f"Its alphabet is {self.alphabet!r}.", code="text.out_of_alphabet")

    def to_dict(self) -> dict:
        """What the bundle stores."""
        return {"type": "characters", "alphabet": self.alphabet}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharTokenizer) and self.alphabet == other.alphabet

    def __hash__(self) -> int:
        return hash(self.alphabet)

    def __repr__(self) -> str:
        return f"CharTokenizer({self.alphabet!r})"


def describe(character: str) -> str:
    """A character with its code point, so that an invisible one can be seen."""
    return f"{character!r} (U+{ord(character):04X})"


def build_alphabet(texts: Iterable[str]) -> str:
    """All characters of some transcripts, sorted by code point (the same for any order)."""
    return "".join(sorted(set().union(*map(set, texts))))


def count_repeats(labels: Sequence[int]) -> int:
    """Adjacent equal labels; CTC needs one extra frame, a blank, for each."""
    return sum(a == b for a, b in zip(labels, labels[1:], strict=False))


def frames_needed(labels: Sequence[int]) -> int:
    """The fewest output frames on which CTC can write these labels (Graves et al. 2006)."""
    return len(labels) + count_repeats(labels)
