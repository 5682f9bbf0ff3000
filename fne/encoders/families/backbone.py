"""The plain backbone: any encoder of images or of texts that transformers loads. Other families are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fne.encoders.declared import check_pooling, not_applied, read_settings
from fne.encoders.pooling import JOINT, POOLINGS, image_tokens, pooled
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch

NO_LIMIT = 10**6
"""What transformers writes for a tokenizer without a limit is far more."""
_INPUTS = {"image": "pixel_values", "text": "input_ids"}


@dataclass(frozen=True)
class Backbone:
    """One checkpoint of a family.

    A family overrides what differs. What it reads of a checkpoint before the model is loaded needs no torch.

    Args:
        folder: The checkpoint.
        config: Its config.json.
    """

    folder: Path
    config: Mapping[str, Any]

    processors: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image": ("preprocessor_config.json", "processor_config.json"),
        "text": ("tokenizer.json", "vocab.txt", "spiece.model", "vocab.json"),
    }
    """Of which files of each modality it needs one."""
    padding: ClassVar[str] = "longest"
    """How texts are padded: to the longest of a batch, under a mask, or to ``max_length``, which the model sees."""

    @classmethod
    def matches(cls, config: Mapping[str, Any], folder: Path) -> bool:
        """Is a folder with this config.json one of the family? The most derived of those that say so takes it."""
        return True

    @classmethod
    def target(cls) -> str:
        """Where the family's code begins, as ``module:name``."""
        return f"{cls.__module__}:{cls.__name__}"

    def part(self, modality: str) -> Mapping[str, Any]:
        """What config.json says of one modality."""
        return self.config

    def own_pooling(self, modality: str) -> str:
        """The pooling of a section that names none: ``joint`` where the checkpoint has an embedding of its own."""
        return "mean"

    def files(self, pooling: str | None) -> list[Path]:
        """Files in sub-folders that a feature depends on."""
        return []

    def width(self, modality: str, pooling: str | None = None) -> int | None:
        """Width of a feature, where the checkpoint's files say it."""
        for key in ("hidden_size", "d_model", "n_embd", "dim", "hidden_sizes"):
            value = self.part(modality).get(key)
            value = value[-1] if isinstance(value, list) and value else value
            if type(value) is int:
                return value
        return None

    def processor(self, modality: str) -> Path:
        """The file of the image processor or tokenizer.

        Raises:
            UserError: There is none.
        """
        names = self.processors[modality]
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        what = "image processor" if modality == "image" else "tokenizer"
        raise bad_input(f"the checkpoint has no {what}", file=self.folder, allowed=" or ".join(names))

    def check(self, section: Mapping[str, Any], modality: str) -> None:
        """Refuse a checkpoint without what the family needs, or a section that the checkpoint's files contradict."""
        processor = self.processor(modality)
        if section.get("pooling") == JOINT != self.own_pooling(modality):
            problem = "the checkpoint has no embedding of its own that images and texts share"
            others = [name for name in POOLINGS if name != JOINT]
            raise bad_input(problem, file=self.folder, key=f"encoders.{modality}.pooling", value=JOINT, allowed=others)
        if modality == "image":
            read_settings(processor)
        elif section.get("pooling") not in (None, JOINT) and section.get("level") != "tokens":
            check_pooling(section, self.folder)

    def not_applied(self, pooling: str | None) -> list[str]:
        """Parts of the checkpoint that would change its features and are left out."""
        return not_applied(self.folder)

    def tower(self, model: Any, config: Any, modality: str, pooling: str | None) -> tuple[Any, Any]:
        """The encoder of one modality within the loaded model, and its configuration.

        Args:
            model, config: As transformers loads them.
            modality: ``"image"`` or ``"text"``.
            pooling: With ``joint``, the encoder keeps its own projection.

        Raises:
            UserError: There is none.
        """
        if model.main_input_name != _INPUTS[modality]:
            problem = f"not an encoder of {modality}s"
            raise bad_input(problem, file=self.folder, key="model_type", value=config.model_type)
        return model, config

    def longest(self, model: torch.nn.Module, config: Any, tokenizer: Any) -> int | None:
        """Greatest number of tokens: of the tokenizer, the configuration and the tables of positions."""
        limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
        for name, module in model.named_modules():
            if name.endswith(("position_embedding", "position_embeddings")) and hasattr(module, "num_embeddings"):
                # those of RoBERTa's kind begin behind the padding's
                padding = getattr(module, "padding_idx", None)
                limits.append(module.num_embeddings - (-1 if padding is None else padding) - 1)
        return min((limit for limit in limits if limit and 0 < limit < NO_LIMIT), default=None)

    def projections(self, model: torch.nn.Module, modality: str) -> list[torch.nn.Module]:
        """The modules of a tower with pooling ``joint`` that project into the joint space."""
        return []

    def length(self, limit: int | None) -> int | None:
        """Greatest number of tokens by default, of at most ``limit``."""
        return limit

    def image(
        self, model: Any, config: Any, pixels: torch.Tensor, pooling: str | None, *, interpolates: bool = False
    ) -> torch.Tensor:
        """Embed images.

        Args:
            model: The tower.
            config: Its configuration.
            pixels: (B, 3, H, W), normalised.
            pooling: Of :data:`fne.encoders.pooling.POOLINGS`; None: all regions.
            interpolates: Does the model interpolate positions for another size than the checkpoint's?

        Returns:
            (B, D), or regions (B, T, D).
        """
        output = model(pixel_values=pixels, **positions(config, pixels, interpolates))
        patch = getattr(config, "patch_size", None)
        sides = patch if isinstance(patch, (list, tuple)) else (patch, patch)
        grid = (pixels.shape[2] // sides[0]) * (pixels.shape[3] // sides[1]) if patch else 0
        regions, special = image_tokens(output.last_hidden_state, grid)
        return regions if pooling is None else pooled(output, pooling, special, regions, None, str(self.folder))

    def text(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, pooling: str | None, *, whole_mask: bool = False
    ) -> torch.Tensor:
        """Embed texts.

        Args:
            model: The tower.
            ids: (B, T) tokens.
            mask: (B, T), 1 where there is a token.
            pooling: Of :data:`fne.encoders.pooling.POOLINGS`; None: all tokens.
            whole_mask: Does the model take its mask as (B, 1, T, T)?

        Returns:
            (B, D), or tokens (B, T, D).
        """
        output = model(input_ids=ids, **self.masked(ids, mask, whole_mask))
        hidden = output.last_hidden_state
        return hidden if pooling is None else pooled(output, pooling, None, hidden, mask, str(self.folder))

    def masked(self, ids: torch.Tensor, mask: torch.Tensor, whole: bool) -> dict[str, torch.Tensor]:
        """The mask as the model takes it; none where it was trained on padding."""
        if self.padding != "longest":
            return {}
        return {"attention_mask": mask.bool()[:, None, None].expand(-1, -1, ids.shape[1], -1) if whole else mask}


def positions(config: Any, pixels: torch.Tensor, interpolates: bool) -> dict[str, bool]:
    """What tells a model to interpolate its positions, where the pixels have another size than the checkpoint's."""
    native = getattr(config, "image_size", None) in (pixels.shape[2], list(pixels.shape[2:]))
    return {"interpolate_pos_encoding": True} if interpolates and not native else {}
