"""The plain backbone: any encoder of images or of texts that transformers loads. Other families are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fne.encoders.declared import check_pooling, not_applied, read_settings
from fne.encoders.pooling import image_tokens, pooled
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
    def matches(cls, config: Mapping[str, Any]) -> bool:
        """Is a checkpoint with this config.json one of the family? The most derived of those that say so takes it."""
        return True

    @classmethod
    def target(cls) -> str:
        """Where the family's code begins, as ``module:name``."""
        return f"{cls.__module__}:{cls.__name__}"

    def part(self, modality: str) -> Mapping[str, Any]:
        """What config.json says of one modality."""
        return self.config

    def width(self, modality: str) -> int | None:
        """Width of a feature, where config.json says it."""
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
        if modality == "image":
            read_settings(processor)
        elif "pooling" in section and section.get("level") != "tokens":
            check_pooling(section, self.folder)

    def not_applied(self) -> list[str]:
        """Parts of the checkpoint that would change its features and are left out."""
        return not_applied(self.folder)

    def tower(self, model: Any, config: Any, modality: str) -> tuple[Any, Any]:
        """The encoder of one modality within the loaded model, and its configuration.

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
        patch = getattr(config, "patch_size", None)
        sides = patch if isinstance(patch, (list, tuple)) else (patch, patch)
        grid = (pixels.shape[2] // sides[0]) * (pixels.shape[3] // sides[1]) if patch else 0
        native = getattr(config, "image_size", None) in (pixels.shape[2], list(pixels.shape[2:]))
        other = {"interpolate_pos_encoding": True} if interpolates and not native else {}
        output = model(pixel_values=pixels, **other)
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
        seen = mask.bool()[:, None, None].expand(-1, -1, ids.shape[1], -1) if whole_mask else mask
        output = model(input_ids=ids, **({"attention_mask": seen} if self.padding == "longest" else {}))
        hidden = output.last_hidden_state
        return hidden if pooling is None else pooled(output, pooling, None, hidden, mask, str(self.folder))
