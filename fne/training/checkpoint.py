"""Checkpoints of an unfinished run: one safetensors file, written under a temporary name and renamed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fne.training.distributed import World
from fne.training.engine import Engine
from fne.utils.errors import bad_input
from fne.utils.files import atomic_path

NAME, ASIDE = "checkpoint.safetensors", "checkpoint.of_another_run.safetensors"


def save(engine: Engine, folder: Path, identity: dict[str, Any]) -> None:
    """Write the engine's whole state.

    Args:
        engine: Between two steps.
        folder: Where ``checkpoint.safetensors`` goes.
        identity: What a resume must agree with: digest of the config, seeds, fingerprints of the data.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in engine.state().items()}
    text = json.dumps({"identity": identity, "step": engine.step, "curves": engine.curves}, allow_nan=True)
    with atomic_path(folder / NAME) as temporary:
        save_file(tensors, temporary, metadata={"fne": text})


def load(engine: Engine, folder: Path, identity: dict[str, Any]) -> bool:
    """Resume the engine from a folder, if it holds a checkpoint.

    One of another config, other seeds, data or code is set aside, with a note.

    Returns:
        Whether there was one.

    Raises:
        UserError: The checkpoint cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return False
    hint = "delete it to train from the start"
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fne"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, ValueError) as error:
        raise bad_input(f"not a readable checkpoint ({error})", file=path, hint=hint) from None
    for key, value in identity.items():
        found = header["identity"].get(key)
        if found != value:
            if World.here().rank == 0:
                os.replace(path, folder / ASIDE)
                print(f"note: {path}: is of another run ({key} {found!r}, now {value!r}): set aside as {ASIDE}; "
                      "training begins at the start", file=sys.stderr)  # fmt: skip
            return False
    engine.load_state(tensors, header["step"], header["curves"])
    return True
