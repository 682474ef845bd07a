"""The errors that a user can set right. The command line shows them, and `OSError`, as one line.

Everything else that is raised is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

import errno
import re


MAX_MESSAGE = 2000  # letters: what a message quotes out of a bad file or argument may have millions
MAX_WORD = 400  # letters without a space: paths are shorter, but for those that no system takes
MESSAGE_END = 600  # letters kept of the end, where the remedy is
SHOWN_PROBLEMS = 20
CORRECT = "correct it or download the file again"


def one_line(message: object, longest: int = MAX_MESSAGE) -> str:
    """The message on one line, without the middle of what is over-long in it. Its begin and its end stay: they name
    the problem and the remedy.

    Example:
        >>> one_line("clip.mp4: is empty;\\n  download it again")
        'clip.mp4: is empty; download it again'
        >>> len(one_line(f"{'x' * 5000}: is no number; write one")) < 450
        True
    """
    text = re.sub(rf"\S{{{MAX_WORD + 1},}}", lambda word: _without_middle(word[0], MAX_WORD, 100), str(message))
    return _without_middle(" ".join(text.split()), longest, MESSAGE_END)


def _without_middle(text: str, length: int, end: int) -> str:
    return text if len(text) <= length else f"{text[: length - end - 3]}...{text[-end:]}"


REMEDIES = {
    errno.EACCES: "check its permissions, or name another place",
    errno.EPERM: "check its permissions, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EFBIG: "raise the limit of file sizes, or name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs that hold many files open",
    errno.EIO: "check the disk",
    errno.ENOMEM: "free memory, or choose a smaller input",
}
CHECK_PATH = "check the path and the folder you are in"


def system_error_line(error: OSError) -> str:
    """What the system refused, as the command line shows it: the file, the reason, and what to do about it.

    Example:
        >>> system_error_line(PermissionError(13, "Permission denied", "masks"))
        'masks: Permission denied; check its permissions, or name another place'
    """
    if error.errno is None or error.strerror is None:
        return str(error)  # raised by a library, with words of its own
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names)}: " if names else ""
    return f"{where}{error.strerror}; {REMEDIES.get(error.errno, CHECK_PATH)}"


class UserError(ValueError):
    """What the user gave cannot be used. The message is one line: what is wrong, where, and what to do about it.

    Example:
        >>> str(UserError("clip.mp4: is empty;\\n  download it again"))
        'clip.mp4: is empty; download it again'
    """

    longest_message = MAX_MESSAGE
    """Letters; what is longer loses its middle."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message, self.longest_message))


class CheckpointError(UserError):
    """A checkpoint cannot be used, or a model cannot be written."""


class VideoError(UserError):
    """A video or an image cannot be read or written."""


class DatasetFileError(UserError):
    """A dataset cannot be read: file, id, what is wrong, what to do about it."""


class DatasetContentError(DatasetFileError):
    """What a file of a dataset says is wrong: file, id, what is wrong. What to do about it is added.

    Example:
        >>> str(DatasetContentError("meta_expressions.json: video 'a' has no 'frames'"))
        "meta_expressions.json: video 'a' has no 'frames'; correct it or download the file again"
    """

    def __init__(self, message: str = ""):
        text = str(message)
        super().__init__(text if text.endswith(CORRECT) else f"{text}; {CORRECT}")  # an error that was sent has it


class TarError(DatasetFileError):
    """A tar cannot be read."""


class BrokenSampleError(DatasetFileError):
    """A training sample cannot be read: which video and expressions, which file, what to do."""


class MissingPrediction(UserError):
    """The prediction of a frame is not there. The message names the file."""


class SubmissionError(UserError):
    """A tree of predictions that its server would refuse. `problems` has all of them; the message the first."""

    def __init__(self, root, problems: list[str]):
        self.problems = problems
        shown = "\n".join(problems[:SHOWN_PROBLEMS])
        rest = len(problems) - SHOWN_PROBLEMS
        more = f"\n... and {rest} more" if rest > 0 else ""
        message = f"{root}: {len(problems)} problems, no archive was written:\n{shown}{more}"
        ValueError.__init__(self, message)  # a problem per line


class ProcessFailed(UserError):
    """Another process stopped or did not answer in time. What is done is done; start again to resume."""


class ConfigError(UserError):
    """A configuration of a training run cannot be used: file, key, what is wrong, what to do."""


class NothingToTrainError(UserError):
    """No parameter is trainable."""


class NonFiniteLossError(UserError, FloatingPointError):
    """The loss or a gradient is NaN or infinite. Names the samples and the file that lists them."""


__all__ = [
    "BrokenSampleError",
    "CheckpointError",
    "ConfigError",
    "DatasetContentError",
    "DatasetFileError",
    "MissingPrediction",
    "NonFiniteLossError",
    "NothingToTrainError",
    "ProcessFailed",
    "SubmissionError",
    "TarError",
    "UserError",
    "VideoError",
    "one_line",
    "system_error_line",
]
