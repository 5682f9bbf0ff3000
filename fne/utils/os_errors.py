"""What went wrong, in words a person can act on: full disks, missing rights, memory."""

from __future__ import annotations

import errno

from fne.utils.errors import UserError

LESS_MEMORY = (
    "use fewer seeds per block (block), or a smaller train.batch_size or memory.size; in the regime finetune first "
    "finetune.chunk (pairs per pass: the loss stays that of the whole batch) and finetune.gradient_checkpointing=true, "
    "then a smaller finetune.image_size"
)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
AGAIN = "free some space and run the same command again"
FORBIDDEN = "no permission; change the owner or mode of the file or folder, or give another --root"
WORDS = {
    errno.ENOSPC: f"the disk is full; {AGAIN}",
    errno.EDQUOT: f"your disk quota is used up; {AGAIN}",
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: "the file system is read-only; give another --root",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, not a file",
}


def explain(error: BaseException) -> str | None:
    """What a person can do about an error, or None for a defect of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'a file'}: {in_words(error)}"
    text = (str(error).splitlines() or [""])[0][:200]
    if "No space left on device" in text or ("requested and" in text and "written" in text):
        # numpy and safetensors report a full disk without an error number.
        return f"the disk is full ({text}); {AGAIN}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in text for w in OUT_OF_MEMORY)):
        return f"out of memory{f' ({text})' if text else ''}; {LESS_MEMORY}"
    return None


def in_words(error: OSError) -> str:
    """What the system says, and what to do about it, without the name of the file."""
    return WORDS.get(error.errno or 0) or error.strerror or str(error)
