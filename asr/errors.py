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

EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_DATA = 4
EXIT_BUNDLE = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


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
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.path = None if path is None else str(path)

    def as_record(self, stage: str) -> dict:
        """The JSON record of one failed item: path, stage, code, message."""
        return {"path": self.path, "stage": stage, "code": self.code, "message": self.message}


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
