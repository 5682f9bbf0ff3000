"""Frozen encoders of texts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.encoders.checkpoints import Checkpoint
from fne.encoders.encoder import Encoder
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch

_TOKENIZING = threading.Lock()
"""Held by a thread while it tokenizes: a tokenizer's settings of truncation and padding are its own state."""
PROBED = 2048
"""Tokens of the longest text that is tried when an encoder is loaded."""


class TextEncoder(Encoder):
    """A frozen encoder of texts."""

    modality = "text"

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        from transformers import AutoTokenizer

        super().__init__(section, checkpoint, device)
        with self.explained():
            self.tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder)
        self.tokenizer.padding_side = "right"  # positions count from the first word, also in a padded batch
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # masked out in any case
        limit = self.family.longest(self.model, self.config, self.tokenizer)
        longest = section.get("max_length") or self.family.length(limit)
        key = "encoders.text.max_length"
        if longest is None or not 3 <= longest <= (limit or longest):
            allowed = f"3 to {limit}" if limit else "3 or more: neither the model nor its tokenizer has a limit"
            raise bad_input("more or fewer tokens than the encoder takes", key=key, value=longest, allowed=allowed)
        self.max_length: int = longest
        self.whole_masks = False  # see find_out_about_masks
        self.padding = self.family.padding
        if self.padding == "max_length" and longest != limit:
            problem = "the encoder was trained on texts padded to all its positions"
            raise bad_input(problem, file=self.where, key=key, value=longest, allowed=[limit])

    def preprocessing(self) -> dict[str, Any]:
        """What is done to a caption, for the manifest."""
        left_out = self.family.not_applied(self.pooling)
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
            settings = {"truncation": False, "padding": False, "verbose": False, "return_attention_mask": False}
            encoded = self.tokenizer(list(texts[start : start + 4096]), **settings)["input_ids"]
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

        with _TOKENIZING:
            batch = self.tokenizer(
                list(texts),
                truncation=True,
                max_length=self.max_length,
                padding=self.padding,
                return_attention_mask=True,
                return_tensors="pt",
                verbose=False,
            )
        batch = batch.to(self.device)
        mask = batch["attention_mask"]
        with torch.inference_mode():
            found = self.features(self.model, batch["input_ids"], mask)
            if self.tokens:
                return [self._stored(row[kept]) for row, kept in zip(found, mask.bool(), strict=True)]
            return self._stored(found)

    def features(self, model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Features (B, D), or (B, T, D) at the token level, of tokens (B, T) under a model of this kind."""
        return self.family.text(model, ids, mask, self.pooling, whole_mask=self.whole_masks)

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
        texts = ["a", "two dogs", *(str(self.tokenizer.decode([number])) for number in numbers)]
        texts.append(" ".join(texts * min(self.max_length, PROBED)))
        tokens = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        different = list({tuple(ids): text for ids, text in zip(tokens, texts, strict=True) if ids}.values())
        *short, long = different[:2] + [text for text in different[2:] if text is texts[-1]]
        found = [*self.encode(short)] if short else []
        try:
            found += [*self.encode([long])]
        except (IndexError, RuntimeError, ValueError) as error:
            problem = f"a text of so many tokens cannot be encoded ({str(error).strip().splitlines()[0]})"
            at: dict[str, Any] = {"file": self.where, "key": "encoders.text.max_length", "value": self.max_length}
            raise bad_input(problem, **at, allowed="fewer") from None
        return [np.atleast_2d(one).mean(0) for one in found]
