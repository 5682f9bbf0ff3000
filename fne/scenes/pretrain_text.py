"""Pretraining of the tiny BERT of `scenes`: captions and what they claim, never a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.encoders.pooling import masked_mean
from fne.encoders.shipped import Recipe
from fne.scenes.captions import caption_scene
from fne.scenes.draw import Chooser
from fne.scenes.labels import FACTS, form_facts, table
from fne.scenes.optimise import (
    BATCH,
    FACT_SCALE,
    TINY,
    WIDTH,
    fact_loss,
    fact_scores,
    optimise,
    pretrain_scenes,
    shuffled_batches,
    split_point,
)
from fne.utils.seeding import numpy_stream, torch_stream

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 64
EPOCHS, RATE, FACT_WEIGHT, SPREAD = 1, 3.0e-3, 0.05, 0.06
MASKED_CAPTIONS, MASKED_WORDS = 0.35, 0.15
"""Share of the captions that are masked (the others tell their facts), and of the words of a masked one."""
NEIGHBOURS = (-2, -1, 1, 2)
POOL_BATCHES = 50
"""Captions are sorted by length within this many batches, so that little of a batch is padding."""


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token per word of the texts, in alphabetical order after the special tokens of BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.lower().split()})
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **names)


def pretrain(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train a BERT on captions of scenes that no split holds, and save it as a checkpoint.

    It must tell masked words from their token, the words around a word from a token of the middle (which teaches
    attention where words stand), and from the mean over the tokens, which is the feature, the facts that the
    caption's own logical form states.

    Args:
        recipe: What it is pretrained on.
        folder: Where the checkpoint goes.

    Returns:
        Accuracies on the captions of held-out scenes, and the cross-entropy of a masked word in nats.
    """
    import torch
    from torch import nn
    from transformers import BertConfig, BertModel

    scenes, each = pretrain_scenes(recipe), recipe.captions_per_image
    choose = Chooser(numpy_stream(recipe.draw, "pretrain", "text", "captions"))
    texts, forms = zip(*(caption_scene(scene, choose) for scene in scenes for _ in range(each)), strict=True)
    kept = split_point(len(scenes)) * each
    tokenizer = build_tokenizer(texts[:kept])
    encoded = tokenizer(list(texts), padding=True, return_tensors="pt")
    words, mask = encoded["input_ids"], encoded["attention_mask"]
    facts, lengths = torch.from_numpy(table(map(form_facts, forms))), mask.sum(1)
    config = BertConfig(**TINY, vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=MAX_TOKENS,
                        initializer_range=SPREAD)  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    _start_from_sinusoids(model.embeddings.position_embeddings.weight)
    of_word, of_caption = nn.Linear(WIDTH, len(tokenizer)), nn.Linear(WIDTH, len(FACTS))
    of_neighbours = nn.Linear(WIDTH, len(NEIGHBOURS) * len(tokenizer))
    nn.init.constant_(of_caption.bias, -4.0)  # a caption states few facts
    noise = torch_stream(recipe.draw, "pretrain", "text", "masks")

    def hide(inputs: Tensor) -> Tensor:
        return (torch.rand(inputs.shape, generator=noise) < MASKED_WORDS) & (inputs >= len(SPECIAL))

    def forward(inputs: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = model(input_ids=inputs, attention_mask=present, output_hidden_states=True)
        tokens = output.last_hidden_state
        return output.hidden_states[1], tokens, masked_mean(tokens, present)

    def loss_of(batch: np.ndarray) -> Tensor:
        rows = torch.from_numpy(batch)
        longest = int(lengths[rows].max())
        inputs, present = words[rows, :longest], mask[rows, :longest]
        masked = torch.rand(len(rows), generator=noise) < MASKED_CAPTIONS
        hidden = hide(inputs) & masked[:, None]
        middle, tokens, pooled = forward(inputs.masked_fill(hidden, tokenizer.mask_token_id), present)
        near = of_neighbours(middle).unflatten(-1, (len(NEIGHBOURS), -1))
        each = (_neighbour_loss(near[:, :, slot], inputs, offset) for slot, offset in enumerate(NEIGHBOURS))
        loss = sum(each, torch.zeros(())) / 4
        if bool(hidden.any()):
            loss = loss + nn.functional.cross_entropy(of_word(tokens[hidden]), inputs[hidden])
        if not bool(masked.all()):
            loss = loss + FACT_WEIGHT * fact_loss(of_caption(pooled[~masked] * FACT_SCALE), facts[rows][~masked])
        return loss

    order = numpy_stream(recipe.draw, "pretrain", "text", "order")
    batches = by_length(shuffled_batches(kept, BATCH, EPOCHS, order), lengths.numpy(), order)
    optimise(loss_of, (model, of_word, of_caption, of_neighbours), batches, RATE, "pretrain text")
    model.eval()
    with torch.inference_mode():
        inputs, present, hidden = words[kept:], mask[kept:], hide(words[kept:])
        _, tokens, _ = forward(inputs.masked_fill(hidden, tokenizer.mask_token_id), present)
        logits, wanted = of_word(tokens[hidden]), inputs[hidden]
        _, _, pooled = forward(inputs, present)
        scores = {
            "masked_word_accuracy": float((logits.argmax(-1) == wanted).float().mean()),
            "masked_word_loss": float(nn.functional.cross_entropy(logits, wanted)),
            **fact_scores(of_caption(pooled * FACT_SCALE), facts[kept:]),
        }
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return scores


def _neighbour_loss(logits: Tensor, inputs: Tensor, offset: int) -> Tensor:
    """Cross-entropy of the word ``offset`` places on: logits (B, T, V), inputs (B, T) padded with 0."""
    from torch.nn.functional import cross_entropy

    here, there = (logits[:, :-offset], inputs[:, offset:]) if offset > 0 else (logits[:, -offset:], inputs[:, :offset])
    return cross_entropy(here.flatten(0, 1), there.flatten(), ignore_index=SPECIAL.index("[PAD]"))


def by_length(batches: Sequence[np.ndarray], lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Deal the rows of every :data:`POOL_BATCHES` batches anew, captions of like length together, in random order."""
    dealt: list[np.ndarray] = []
    for start in range(0, len(batches), POOL_BATCHES):
        pool = batches[start : start + POOL_BATCHES]
        rows = np.concatenate(pool)
        parts = np.array_split(rows[np.argsort(lengths[rows], kind="stable")], len(pool))
        dealt += [parts[index] for index in rng.permutation(len(parts))]
    return dealt


def _start_from_sinusoids(weight: Tensor) -> None:
    """Start position embeddings from sines and cosines, from which attention to a neighbour is quickly learned."""
    import torch

    place = torch.arange(weight.shape[0])[:, None].float()
    rate = torch.exp(-math.log(100.0) * torch.arange(0, weight.shape[1], 2) / weight.shape[1])
    scale = SPREAD * math.sqrt(2)  # the variance of the other embeddings
    with torch.no_grad():
        weight[:, 0::2], weight[:, 1::2] = scale * torch.sin(place * rate), scale * torch.cos(place * rate)
