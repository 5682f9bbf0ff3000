"""What the tests of mended faults share: a verb, how it refuses, a tiny corpus, tiny untrained checkpoints.

Each file holds inputs that once changed data in silence or ended in a traceback, and what is right of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fne.cli import build_parser
from fne.utils.errors import UserError
from tests.encoders.conftest import TEXTS
from tests.projects import Project

SPLITS = {"train": 3, "val": 1, "test": 1}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the repository's ablations that a test may damage."""
    return Project(tmp_path / "project")


def verb(*words: str, root: Path) -> None:
    """Run a verb of the command line here; unlike the command line it lets a refusal through."""
    arguments = build_parser().parse_args([*words, "--root", str(root)])
    arguments.handler(arguments)


def refusal(call: Callable[..., Any], *given: Any, about: tuple[str, ...], **named: Any) -> str:
    """The message with which a call is refused, empty where it is not.

    A refusal without any of the words ``about`` is of something else and is raised: the test itself is broken.
    """
    try:
        call(*given, **named)
    except UserError as error:
        if not any(word in str(error) for word in about):
            raise
        return str(error)
    return ""


def corpus(folder: Path, caption: str) -> dict[str, Any]:
    """Five pictures with a caption each, ``caption`` and a number: the ``data`` of a study."""
    (folder / "images").mkdir(parents=True)
    rows, names = [], [split for split, count in SPLITS.items() for _ in range(count)]
    for number, split in enumerate(names):
        Image.new("RGB", (16, 16), (40 * number, len(caption), 0)).save(folder / "images" / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": f"{caption} {number}", "split": split})
    (folder / "pairs.json").write_text(json.dumps(rows))
    return {"dataset": "custom", "annotations": str(folder / "pairs.json"), "images": str(folder / "images")}


def save(folder: Path, model: Any, max_tokens: int) -> Path:
    """Save a model with a picture processor and a tokenizer that allows so many tokens: a checkpoint."""
    from fne.scenes.pretrain_image import _write_processor
    from fne.scenes.pretrain_text import build_tokenizer

    model.save_pretrained(folder)
    _write_processor(folder, 48)
    tokenizer = build_tokenizer(TEXTS)
    tokenizer.model_max_length = max_tokens
    tokenizer.save_pretrained(folder)
    return folder


def tower(**changes: Any) -> dict[str, Any]:
    """Sizes of a tiny text model."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    return {**sizes, "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, **changes}
