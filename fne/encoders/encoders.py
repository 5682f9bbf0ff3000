"""Frozen encoders through ``transformers``: any checkpoint of images or texts becomes pictures or texts -> features.

Eval mode, no gradient, float32, whatever the checkpoint was saved in: frozen batch norms and no dropout, and a feature
that depends on its own item only. With a ``grid`` in its section an encoder computes in float64 and rounds its features
onto that grid, so that they are the same on every machine.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.decoding import RULES
from fne.encoders.checkpoints import Checkpoint, explain, find, not_applied
from fne.encoders.pooling import POOLINGS, image_tokens, pooled
from fne.encoders.store import DTYPES, LEVELS
from fne.utils.errors import UserError, bad_input

if TYPE_CHECKING:
    import torch
    from PIL import Image


PROBED = 2048
"""Tokens of the longest text that is tried when an encoder is loaded."""
NO_LIMIT = 10**6
"""What transformers writes for a tokenizer without a limit is far more."""
_NO_PIXELS = {"image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "return_tensors",
              "data_format", "input_data_format", "device", "disable_grouping", "name_or_path"}  # fmt: skip
"""What a processor says of itself, or of the layout of its result, rather than of pixels."""


def load(section: Mapping[str, Any], modality: str, device: str = "cpu") -> ImageEncoder | TextEncoder:
    """Load the frozen encoder that a config section names.

    Args:
        section: What :func:`fne.study.paths.encoder` gives: ``encoders.image`` or ``encoders.text``, its checkpoint a
            folder or hub id, perhaps with a ``grid``.
        modality: ``"image"`` or ``"text"``.
        device: Where to compute, ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: The section or the checkpoint cannot be used.
    """
    for key, allowed in (("level", LEVELS), ("pooling", POOLINGS), ("dtype", tuple(DTYPES))):
        if section.get(key) not in allowed:
            raise bad_input("not known", key=f"encoders.{modality}.{key}", value=section.get(key), allowed=allowed)
    _check_device(device)
    checkpoint = find(section, modality)
    encoder = (ImageEncoder if modality == "image" else TextEncoder)(section, checkpoint, device)
    for part in not_applied(checkpoint.folder):
        print(f"{checkpoint.folder}: its part {part} is not applied: features are those before it", file=sys.stderr)
    encoder.probe()
    return encoder


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Do features differ by no more than rounding?"""
    return bool(np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(one))


def _check_device(device: str) -> None:
    import torch

    if device not in ("cpu", "cuda"):
        raise bad_input("not known", key="device", value=device, allowed=["cpu", "cuda"])
    if device == "cuda" and not torch.cuda.is_available():
        raise bad_input("torch sees no CUDA device here", key="device", value=device, allowed=["cpu"])
    torch.backends.cudnn.allow_tf32 = False  # convolutions in float32 on a GPU too; matrix products are by default


class _Encoder(ABC):
    """What both modalities share: the model, and the record of where it came from."""

    modality: str

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        self.section, self.checkpoint, self.device = section, checkpoint, device
        self.where = str(checkpoint.folder)
        self.tokens, self.pooling = section["level"] == "tokens", section["pooling"]
        self.grid = section.get("grid")
        self.model, self.config = self._model()

    def _model(self) -> tuple[torch.nn.Module, Any]:
        import torch
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        # its progress bars and load reports would drown ours; what matters of them is checked below
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            config = AutoConfig.from_pretrained(self.checkpoint.folder)
            model, report = AutoModel.from_pretrained(
                self.checkpoint.folder,
                config=config,
                attn_implementation=self.section.get("attention"),
                use_safetensors=True,
                dtype=torch.float64 if self.grid else torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # transformers, tokenizers and safetensors raise many kinds
            raise explain(error, self.checkpoint) from None
        if hasattr(config, "vision_config") and hasattr(config, "text_config"):
            side = "vision" if self.modality == "image" else "text"
            model, config = getattr(model, f"{side}_model", None), getattr(config, f"{side}_config")
            if model is None:
                raise bad_input(f"the two-tower model has no {side} tower of its own", file=self.where)
        elif model.main_input_name != ("pixel_values" if self.modality == "image" else "input_ids"):
            raise bad_input(
                f"not an encoder of {self.modality}s", file=self.where, key="model_type", value=config.model_type
            )
        elif config.is_encoder_decoder:
            model = model.get_encoder()
        self._check_weights(report)
        return model.eval().requires_grad_(False).to(self.device), config

    def _check_weights(self, report: Mapping[str, Any]) -> None:
        """Refuse weights that transformers would fill with random numbers (a pooler nobody reads may lack)."""
        missing = {str(key) for key in report["missing_keys"]} | {str(key) for key in report["mismatched_keys"]}
        if self.tokens or self.pooling != "pooler":
            missing = {key for key in missing if "pooler" not in key.split(".")}
        if missing:
            first = sorted(missing)[0]
            raise bad_input(
                f"the checkpoint lacks weights of its own model ({len(missing)} in all)",
                file=self.where,
                key=first,
                hint="with pooling 'pooler' the pooler itself must have been trained",
            )

    def _stored(self, features: torch.Tensor) -> np.ndarray:
        """Features as the store takes them: float32, on the grid where there is one."""
        if self.grid:
            features = (features / self.grid).round() * self.grid
        return features.float().cpu().numpy()

    def probe(self) -> None:
        """Run different items, one of the greatest size, so that what does not fit is said before any work."""
        try:
            self._refuse_useless(self._examples())
        except UserError:
            raise
        except Exception as error:  # transformers, tokenizers and processors raise many kinds
            raise explain(error, self.checkpoint) from None

    @abstractmethod
    def _examples(self) -> list[np.ndarray]:
        """Features of items that differ, of a vector each."""

    def _refuse_useless(self, found: list[np.ndarray]) -> None:
        """Training on vectors that say nothing of their item seems to work."""
        at = {"file": self.where, "key": f"encoders.{self.modality}.pooling", "value": self.pooling}
        if not all(np.isfinite(row).all() for row in found):
            raise bad_input("its features are not finite (NaN or infinite)", file=self.where)
        if not any(_alike(one, other) for one, other in itertools.combinations(found, 2)):
            return
        if self.tokens:
            raise bad_input("different items have the same features", file=self.where)
        usable = []
        for pooling in ("mean", "pooler"):
            self.pooling = pooling
            with contextlib.suppress(UserError):
                if not any(_alike(one, other) for one, other in itertools.combinations(self._examples(), 2)):
                    usable.append(self.pooling)
        problem = "different items have the same feature"
        if at["value"] == "cls":
            problem += ": its first position sees itself alone, so that it has no class token"
        raise bad_input(problem, **at, allowed=usable)

    def record(self) -> dict[str, Any]:
        """Checkpoint, checksums, class of the configuration."""
        return {**self.checkpoint.record(self.modality), "config_class": type(self.config).__name__}


class ImageEncoder(_Encoder):
    """A frozen encoder of images."""

    modality = "image"

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        import torch
        from transformers import AutoImageProcessor

        super().__init__(section, checkpoint, device)
        knows = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.interpolates = knows and section.get("image_size") is not None
        # the convolutions of the CPU run 2 to 3 times as fast with the channels last
        self.model = self.model.to(memory_format=torch.channels_last)
        try:
            # the Pillow backend everywhere, so that pixels do not depend on whether torchvision is installed
            self.processor = AutoImageProcessor.from_pretrained(checkpoint.folder, backend="pil")
        except Exception as error:  # transformers, tokenizers and safetensors raise many kinds
            raise explain(error, checkpoint) from None

    def preprocessing(self) -> dict[str, Any]:
        """What is done to a picture, for the manifest."""
        settings = self.processor.to_dict()
        kept = {key: value for key, value in settings.items() if value is not None and key not in _NO_PIXELS}
        return {**kept, "processor": type(self.processor).__name__, "backend": "pil", "decoding": RULES}

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Pixels of one RGB picture as the encoder wants them: (3, H, W) float32. Safe to call from many threads."""
        pixels = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def batch_size(self, pixels: np.ndarray) -> int:
        """How many pictures to take at once: small batches keep a CPU's activations in its cache, a GPU wants many."""
        if self.device != "cpu":
            return 128
        return max(1, min(128, 8 * 224 * 224 // (pixels.shape[-1] * pixels.shape[-2])))

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Features of a batch of pictures.

        Args:
            pixels: (B, 3, H, W) float32 from :meth:`prepare`.

        Returns:
            (B, D) at the pooled level, (B, T, D) at the token level (regions only), float32.
        """
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device, self.model.dtype, memory_format=torch.channels_last)
            return self._stored(self.features(self.model, batch))

    def features(self, model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Features (B, D), or (B, T, D) at the token level, of normalised pixels (B, 3, H, W) under such a model.

        Where the section names an ``image_size`` other than the checkpoint's, positions are interpolated if the model
        knows how.
        """
        patch = getattr(self.config, "patch_size", None)
        sides = patch if isinstance(patch, (list, tuple)) else (patch, patch)
        grid = (pixels.shape[2] // sides[0]) * (pixels.shape[3] // sides[1]) if patch else 0
        native = getattr(self.config, "image_size", None) in (pixels.shape[2], list(pixels.shape[2:]))
        other = {} if native or not self.interpolates else {"interpolate_pos_encoding": True}
        output = model(pixel_values=pixels, **other)
        regions, special = image_tokens(output.last_hidden_state, grid)
        return regions if self.tokens else pooled(output, self.pooling, special, regions, None, self.where)

    def _examples(self) -> list[np.ndarray]:
        from PIL import Image

        json.dumps(self.preprocessing(), allow_nan=False)  # what the manifest of a store could not hold
        grey, ramp = Image.new("RGB", (64, 48), (128, 128, 128)), Image.linear_gradient("L").convert("RGB")
        return [np.atleast_2d(self.encode(self.prepare(one)[None])[0]).mean(0) for one in (grey, ramp)]


class TextEncoder(_Encoder):
    """A frozen encoder of texts."""

    modality = "text"

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        from transformers import AutoTokenizer

        super().__init__(section, checkpoint, device)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder)
        except Exception as error:  # transformers, tokenizers and safetensors raise many kinds
            raise explain(error, checkpoint) from None
        self.tokenizer.padding_side = "right"  # positions count from the first word, also in a padded batch
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # masked out in any case
        limit = self._limit()
        self.max_length = section.get("max_length") or limit
        if self.max_length is None or not 3 <= self.max_length <= (limit or self.max_length):
            raise bad_input(
                "more or fewer tokens than the encoder takes",
                key="encoders.text.max_length",
                value=self.max_length,
                allowed=f"3 to {limit}" if limit else "3 or more: neither the model nor its tokenizer has a limit",
            )
        self.whole_masks = False  # see find_out_about_masks
        # SigLIP was trained on texts padded to the full length, which its attention sees
        self.padding = "max_length" if self.config.model_type.startswith("siglip") else "longest"
        if self.padding == "max_length" and self.max_length != limit:
            raise bad_input(
                "the encoder was trained on texts padded to all its positions",
                file=self.where,
                key="encoders.text.max_length",
                value=self.max_length,
                allowed=[limit],
            )

    def _limit(self) -> int | None:
        """Greatest number of tokens: of the tokenizer, the configuration and the tables of positions."""
        limits = [self.tokenizer.model_max_length, getattr(self.config, "max_position_embeddings", None)]
        for name, module in self.model.named_modules():
            if name.endswith(("position_embedding", "position_embeddings")) and hasattr(module, "num_embeddings"):
                # those of RoBERTa's kind begin behind the padding's
                limits.append(module.num_embeddings - (-1 if module.padding_idx is None else module.padding_idx) - 1)
        return min((limit for limit in limits if limit and 0 < limit < NO_LIMIT), default=None)

    def preprocessing(self) -> dict[str, Any]:
        """What is done to a caption, for the manifest."""
        left_out = not_applied(self.checkpoint.folder)
        return {
            "tokenizer": type(self.tokenizer).__name__,
            "vocabulary": len(self.tokenizer),
            "max_length": self.max_length,
            "padding": self.padding,
            **({"not_applied": left_out} if left_out else {}),
        }

    def count(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Tokens of each text before truncation (special ones included), and how many of them are unknown words."""
        lengths, unknown = [], []
        for start in range(0, len(texts), 4096):
            encoded = self.tokenizer(
                list(texts[start : start + 4096]),
                truncation=False,
                padding=False,
                verbose=False,
                return_attention_mask=False,
            )["input_ids"]
            lengths += [len(ids) for ids in encoded]
            unknown += [ids.count(self.tokenizer.unk_token_id) for ids in encoded]
        return lengths, unknown

    def encode(self, texts: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """Features of a batch of texts.

        Args:
            texts: B texts; each is cut to ``max_length`` tokens.

        Returns:
            (B, D) at the pooled level; at the token level B arrays (t_i, D) without padding; float32.
        """
        import torch

        batch = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            padding=self.padding,
            return_attention_mask=True,
            return_tensors="pt",
            verbose=False,
        ).to(self.device)
        mask = batch["attention_mask"]
        with torch.inference_mode():
            found = self.features(self.model, batch["input_ids"], mask)
            if self.tokens:
                return [self._stored(row[kept]) for row, kept in zip(found, mask.bool(), strict=True)]
            return self._stored(found)

    def features(self, model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Features (B, D), or (B, T, D) at the token level, of tokens (B, T) under a model of this kind."""
        seen = mask.bool()[:, None, None].expand(-1, -1, ids.shape[1], -1) if self.whole_masks else mask
        output = model(input_ids=ids, **({"attention_mask": seen} if self.padding == "longest" else {}))
        hidden = output.last_hidden_state
        return hidden if self.tokens else pooled(output, self.pooling, None, hidden, mask, self.where)

    def find_out_about_masks(self) -> None:
        """Give the model its mask whole, (B, 1, T, T), from now on, if it computes the same with it.

        From a mask (B, T) transformers asks whether any token is padding at all, which makes the host wait for a GPU
        in every pass. A causal model, or one with eager attention, takes no such mask and keeps the other.
        """
        import torch

        ids = torch.full((2, 5), self.tokenizer.pad_token_id, device=self.device)
        ids[0, :2], ids[1, :4] = 1, torch.arange(1, 5)
        mask = (torch.arange(5, device=self.device) < torch.tensor([[2], [4]], device=self.device)).long()
        with torch.no_grad():
            plain = self.features(self.model, ids, mask)
            self.whole_masks = self.padding == "longest"
            try:
                same = torch.allclose(self.features(self.model, ids, mask), plain, atol=1e-5, rtol=1e-4)
            except (RuntimeError, ValueError, IndexError):
                same = False
        self.whole_masks = self.whole_masks and same

    def _examples(self) -> list[np.ndarray]:
        """Of two texts of different tokens, whatever the vocabulary, and of one that is as long as may be."""
        numbers = range(0, len(self.tokenizer), max(1, len(self.tokenizer) // 16))
        texts = ["a", "two dogs", *(self.tokenizer.decode([number]) for number in numbers)]
        texts.append(" ".join(texts * min(self.max_length, PROBED)))
        tokens = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        different = list({tuple(ids): text for ids, text in zip(tokens, texts, strict=True) if ids}.values())
        *short, long = different[:2] + [text for text in different[2:] if text is texts[-1]]
        found = [*self.encode(short)] if short else []
        try:
            found += [*self.encode([long])]
        except (IndexError, RuntimeError, ValueError) as error:
            raise bad_input(
                f"a text of so many tokens cannot be encoded ({str(error).strip().splitlines()[0]})",
                file=self.where,
                key="encoders.text.max_length",
                value=self.max_length,
                allowed="fewer",
            ) from None
        return [np.atleast_2d(one).mean(0) for one in found]
