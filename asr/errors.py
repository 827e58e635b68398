"""Every error that a user can cause, with its exit code.

In: nothing. Out: the exception tree. The standard library only.

    AsrError                    1  something of ours went wrong, or training was stopped by policy
    ├── UsageError (ValueError) 2  arguments that cannot work together
    │   └── RecipeError         2  a recipe with an unknown key, a wrong type, an impossible number
    ├── DataError (ValueError)  4  the data cannot be used
    │   ├── ManifestError       4  a manifest row that cannot be read
    │   ├── AudioError          4  one recording; carries a code such as "audio.truncated"
    │   ├── TextError           4  one transcript
    │   └── CorpusError         4  a corpus folder or archive that is not what its importer expects
    ├── BundleError (ValueError)     5  a model file that is damaged, hostile or of another version
    ├── CheckpointError (ValueError) 5  a run directory that cannot be resumed
    ├── TrainingStopped         1  the loss stayed non-finite, or another stop by policy
    └── Interrupted       130, 143  a signal; what is written is whole and can be resumed
"""

from __future__ import annotations

import errno

EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_DATA = 4
EXIT_BUNDLE = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader went away, as for any Unix tool

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError: the disk is full
LONGEST_PATH = 4_096  # bytes, of Linux; shorter elsewhere
MAX_MESSAGE_BYTES = 4_000  # with the text around it, a line of at most 4,096


def shorten(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """A text of at most `limit` bytes of UTF-8; in a longer one, a note replaces the middle.

    Example:
        >>> shorten(10_000 * "ab", 70)
        'ababa ... 19,990 characters left out ... babab'
    """
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    half = (limit - 60) // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head} ... {len(text) - len(head) - len(tail):,} characters left out ... {tail}"


class AsrError(Exception):
    """The root of the tree: one sentence with what was received, what was expected, what to do.

    Args:
        message: the sentence.
        code: a dotted name for machines, such as "audio.truncated"; the class has a default.
        path: the file that is at fault, if there is one.
    """

    exit_code = EXIT_INTERNAL
    default_code = "internal"

    def __init__(self, message: str, *, code: str | None = None, path: object = None):
        message = shorten(message)  # a name or a number from outside may have a megabyte
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.path = None if path is None else str(path)

    def as_record(self, stage: str) -> dict:
        """The JSON record of one failed item: path, stage, code, message."""
        path, message = self.path, self.message
        if path and len(path) > LONGEST_PATH:  # no file has such a name; the message holds it, too
            path, message = shorten(path, 1_000), shorten(message, 2_500)
        return {"path": path, "stage": stage, "code": self.code, "message": message}


class UsageError(AsrError, ValueError):
    """Arguments that cannot work, or cannot work together."""

    exit_code = EXIT_USAGE
    default_code = "usage"


class RecipeError(UsageError):
    """A recipe with an unknown key, a wrong type or an impossible number."""

    default_code = "recipe"


class DataError(AsrError, ValueError):
    """Data that cannot be used."""

    exit_code = EXIT_DATA
    default_code = "data"


class ManifestError(DataError):
    """A manifest that cannot be read; the message names file and line.

    Args:
        problems: every problem that was found, one `asr.manifest.Problem` each.
    """

    default_code = "manifest"

    def __init__(self, message: str, *, code: str | None = None, path: object = None,
                 problems: tuple = ()):
        super().__init__(message, code=code, path=path)
        self.problems = problems


class AudioError(DataError):
    """One recording that cannot be used."""

    default_code = "audio"


class TextError(DataError):
    """One transcript that cannot be used."""

    default_code = "text"


class CorpusError(DataError):
    """A corpus folder or a downloaded archive that is not what its importer expects."""

    default_code = "corpus"


class BundleError(AsrError, ValueError):
    """A model bundle that is damaged, hostile, or of another version."""

    exit_code = EXIT_BUNDLE
    default_code = "bundle"


class CheckpointError(AsrError, ValueError):
    """A run directory that cannot be resumed."""

    exit_code = EXIT_BUNDLE
    default_code = "checkpoint"


class TrainingStopped(AsrError):
    """Training was stopped by policy, for example by a loss that stayed non-finite."""

    default_code = "train.stopped"


class Interrupted(AsrError):
    """A signal stopped the work; what is written is whole, the same command goes on from there.

    Args:
        message: the sentence.
        exit_code: 130 for SIGINT, 143 for SIGTERM.
    """

    default_code = "interrupted"

    def __init__(self, message: str, *, exit_code: int = EXIT_INTERRUPTED):
        super().__init__(message)
        self.exit_code = exit_code


class InputWarning(UserWarning):
    """Something odd about an input that is used all the same.

    Args:
        message: the sentence.
        code: a dotted name of its kind, such as "audio.truncated".
    """

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


def out_of_memory(error: BaseException) -> bool:
    """Whether the system had no memory left: for data, or for one more thread."""
    return (isinstance(error, MemoryError)
            or isinstance(error, OSError) and error.errno == errno.ENOMEM
            or isinstance(error, RuntimeError) and "can't start new thread" in str(error))
