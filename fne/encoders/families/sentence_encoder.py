"""Folders of sentence-transformers: a text backbone, a pooling, perhaps dense layers and a normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.encoders.declared import MODULES, declared_pooling, parts_of, read_settings
from fne.encoders.families.backbone import Backbone
from fne.encoders.families.two_towers import TwoTowers
from fne.encoders.pooling import JOINT
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch

_POOLINGS = ("mean", "cls")
_FOLLOWED = ("Transformer", "Pooling", "Dense", "Normalize")
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")
_WEIGHTS = "model.safetensors"


class SentenceEncoder(Backbone):
    """With pooling ``joint`` a text's feature is what all parts of the folder give: ``normalise(dense(pool(x)))``."""

    @classmethod
    def matches(cls, config: Mapping[str, Any], folder: Path) -> bool:
        return (folder / MODULES).is_file() and not TwoTowers.matches(config, folder)

    def own_pooling(self, modality: str) -> str:
        return JOINT if modality == "text" else "mean"

    def _dense(self) -> list[Path]:
        """The folders of the dense layers, in order."""
        return [self.folder / path for kind, path in parts_of(self.folder) if kind == "Dense"]

    def files(self, pooling: str | None) -> list[Path]:
        if pooling != JOINT:
            return []
        inside = [self.folder / path / name for _, path in parts_of(self.folder) if path
                  for name in ("config.json", _WEIGHTS)]  # fmt: skip
        return [self.folder / MODULES, *(file for file in inside if file.is_file())]

    def width(self, modality: str, pooling: str | None = None) -> int | None:
        dense = self._dense() if pooling == JOINT else []
        return read_settings(dense[-1] / "config.json").get("out_features") if dense else super().width(modality)

    def check(self, section: Mapping[str, Any], modality: str) -> None:
        super().check(section, modality)
        if modality != "text" or section.get("pooling") not in (None, JOINT) or section.get("level") == "tokens":
            return
        hint, file = "name a pooling, encoders.text.pooling, to go without what follows it", self.folder / MODULES
        for kind, path in parts_of(self.folder):
            if kind not in _FOLLOWED:
                raise bad_input(f"its part {path} cannot be followed", file=file, value=kind, allowed=_FOLLOWED,
                                hint=hint)  # fmt: skip
        if (pooling := declared_pooling(self.folder)) not in _POOLINGS:
            hint = "take encoders.text.level tokens, or another encoder"
            problem = "its pooling cannot be followed"
            raise bad_input(problem, file=file, key="pooling", value=pooling, allowed=_POOLINGS, hint=hint)
        for dense in self._dense():
            settings = read_settings(dense / "config.json")
            if (name := _activation(settings)) not in _ACTIVATIONS:
                at: dict[str, Any] = {"file": dense / "config.json", "key": "activation_function", "value": name}
                raise bad_input("its activation cannot be followed", **at, allowed=_ACTIVATIONS)
            if not (dense / _WEIGHTS).is_file():
                hint = "pickled weights (pytorch_model.bin) are never loaded: convert them"
                raise bad_input("no safetensors weights", file=dense, allowed=_WEIGHTS, hint=hint)

    def not_applied(self, pooling: str | None) -> list[str]:
        return [] if pooling == JOINT else super().not_applied(pooling)

    def tower(self, model: Any, config: Any, modality: str, pooling: str | None) -> tuple[Any, Any]:
        model, config = super().tower(model, config, modality, pooling)
        model = model.get_encoder() if config.is_encoder_decoder else model
        if pooling == JOINT:
            model.dense = _layers(self._dense(), model.dtype)
        return model, config

    def projections(self, model: torch.nn.Module, modality: str) -> list[torch.nn.Module]:
        return [model.dense] if len(model.dense) else []  # type: ignore[list-item, arg-type]  # modules

    def length(self, limit: int | None) -> int | None:
        file = self.folder / "sentence_bert_config.json"
        own = read_settings(file).get("max_seq_length") if file.is_file() else None
        return min((value for value in (own, limit) if type(value) is int), default=None)

    def text(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, pooling: str | None, *, whole_mask: bool = False
    ) -> torch.Tensor:
        if pooling != JOINT:
            return super().text(model, ids, mask, pooling, whole_mask=whole_mask)
        vectors = super().text(model, ids, mask, declared_pooling(self.folder), whole_mask=whole_mask)
        vectors = model.dense(vectors)
        if any(kind == "Normalize" for kind, _ in parts_of(self.folder)):
            vectors = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        return vectors


def _activation(settings: Mapping[str, Any]) -> str:
    """The class of a dense layer's activation, without its module."""
    return str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]


def _layers(folders: list[Path], dtype: torch.dtype) -> torch.nn.Sequential:
    """The dense layers of some folders, each ``activation(W x + b)``.

    Raises:
        UserError: A file of weights is damaged, or does not hold what its configuration says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn

    layers: list[nn.Module] = []
    for folder in folders:
        settings = read_settings(folder / "config.json")
        try:
            linear = nn.Linear(settings["in_features"], settings["out_features"], settings.get("bias", True))
            weights = load_file(folder / _WEIGHTS)
            linear.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
        except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise bad_input(f"not a dense layer as config.json describes it ({reason})", file=folder) from None
        layers += [linear, getattr(nn, _activation(settings))()]
    return nn.Sequential(*layers).to(dtype)
