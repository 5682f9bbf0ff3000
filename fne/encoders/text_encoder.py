"""Frozen encoders of texts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
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
BATCH = {"cpu": 2048, "cuda": 32_768}
"""Tokens of a batch, padding included: few keep a CPU's activations in its cache, a GPU wants many."""


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

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
        """Tokens of each text, special ones included, cut to ``max_length``.

        Returns:
            The tokens; and before the cut, how many there were and how many of them were unknown words, (B,) int32.
        """
        settings = {"padding": False, "verbose": False, "return_attention_mask": False}
        with _TOKENIZING:
            tokens = self.tokenizer(list(texts), truncation=False, **settings)["input_ids"]
            lengths = np.fromiter(map(len, tokens), np.int32)
            unknown = np.fromiter((each.count(self.tokenizer.unk_token_id) for each in tokens), np.int32)
            for place in np.flatnonzero(lengths > self.max_length).tolist():
                cut = self.tokenizer(texts[place], truncation=True, max_length=self.max_length, **settings)
                tokens[place] = cut["input_ids"]
        return tokens, lengths, unknown

    def batches(self, tokens: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
        """Places of texts of about one length, the shortest first: padded, each batch has few enough tokens."""
        lengths = np.fromiter(map(len, tokens), np.int64)
        order, start = np.argsort(lengths, kind="stable"), 0
        if self.padding == "max_length":
            lengths[:] = self.max_length
        for end in range(1, len(order) + 1):
            if end == len(order) or (end + 1 - start) * lengths[order[end]] > BATCH[self.device]:
                yield order[start:end]
                start = end

    def encode(self, texts: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """Features of a batch of texts, each cut to ``max_length`` tokens, as of :meth:`encode_tokens`."""
        return self.encode_tokens(self.tokenize(texts)[0])

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> np.ndarray | list[np.ndarray]:
        """Features of a batch of texts.

        Args:
            tokens: Of B texts, from :meth:`tokenize`.

        Returns:
            (B, D) at the pooled level; at the token level B arrays (t_i, D) without padding; float32.
        """
        import torch

        lengths = np.fromiter(map(len, tokens), np.int64)
        width = self.max_length if self.padding == "max_length" else lengths.max()
        there = np.arange(width) < lengths[:, None]
        ids = np.full(there.shape, self.tokenizer.pad_token_id)
        ids[there] = np.fromiter(chain.from_iterable(tokens), np.int64)
        with torch.inference_mode():
            mask = torch.from_numpy(there).to(self.device, torch.long)
            made = self._stored(self.features(self.model, torch.from_numpy(ids).to(self.device), mask))
        return [row[:length] for row, length in zip(made, lengths.tolist(), strict=True)] if self.tokens else made

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
        *tokens, long = self.tokenize(texts)[0]
        short = [ids for ids in dict.fromkeys(map(tuple, tokens)) if ids and ids != tuple(long)][:2]
        made = [*self.encode_tokens(short)] if short else []
        try:
            made += [*self.encode_tokens([long])]
        except (IndexError, RuntimeError, ValueError) as error:
            problem = f"a text of so many tokens cannot be encoded ({str(error).strip().splitlines()[0]})"
            at: dict[str, Any] = {"file": self.where, "key": "encoders.text.max_length", "value": self.max_length}
            raise bad_input(problem, **at, allowed="fewer") from None
        return [np.atleast_2d(one).mean(0) for one in made]
