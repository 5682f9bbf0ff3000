"""Caption cleaning before the tokenizer. Torch-free."""

from __future__ import annotations

import re


def clean(text: str) -> str:
    """Lower case; hyphens and slashes become spaces; other punctuation goes; spaces are single.

    *Source*: the preparation of captions that ALBEF, and after it FNE, describes.
    """
    text = re.sub(r"[-/]", " ", text.lower())
    return " ".join(re.sub(r"[^\w\s]|_", "", text).split())
