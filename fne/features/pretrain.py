"""The tiny encoders of `scenes`: a ViT and a BERT, pretrained apart from each other on scenes that no split holds.

Neither ever sees a picture with its caption. Each learns, from its own modality alone, what a sum over its tokens must
carry: which facts hold. They are saved as ordinary transformers folders and used through the path of any other encoder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne import provenance
from fne.data.scenes.captions import caption_scene
from fne.data.scenes.draw import Chooser
from fne.data.scenes.logic import ANY, Form
from fne.data.scenes.prepare import pretrain_pictures, pretrain_scenes
from fne.data.scenes.world import COLOURS, SHAPES, SIZES, Scenes, decode
from fne.errors import bad_input
from fne.files import atomic_folder, write_json
from fne.progress import Progress
from fne.seeding import numpy_stream, stream_seed, torch_stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

HELD_OUT = 0.05
"""Share of the pretraining scenes that only measure."""
WIDTH, HEADS, FEED_FORWARD, SPREAD = 128, 4, 512, 0.06
POOL_SCALE = 3.0
"""Factor on the pooled vector before the facts are read from it: a mean over tokens is smaller than a token."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_WORDS = 40


def run(data: dict[str, Any], out: Path, modality: str, threads: int) -> None:
    """Pretrain the encoder of one modality and save it with ``pretraining.json``, what it learned on held-out scenes.

    Args:
        data: The resolved ``data`` section of ``scenes``.
        out: The checkpoint folder to make.
        modality: ``image`` or ``text``.
        threads: CPU threads; the weights are bit-equal for the same number on the same machine.

    Raises:
        UserError: The modality is unknown, or there are too few scenes.
    """
    if modality not in ("image", "text"):
        raise bad_input("no such modality", key="modality", value=modality, allowed=("image", "text"))
    if data["pretrain"] < 100:
        raise bad_input("too few scenes to learn from", key="data.pretrain", value=data["pretrain"], allowed=">= 100")
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    started = provenance.now()
    with atomic_folder(out) as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(data["seed"], "pretrain", modality))
        learned = (_image if modality == "image" else _text)(data, folder)
        write_json(folder / "pretraining.json", {"data": data, **learned, "record": provenance.record(started, device="cpu")})


def _optimise(loss_of: Any, parameters: list[nn.Parameter], batches: list[np.ndarray], rate: float, label: str) -> None:
    """AdamW over the batches: linear warm-up over a twentieth of them, then cosine down to 0."""
    import torch

    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.97), fused=True)
    ramp, progress = max(1, len(batches) // 20), Progress(label, len(batches), "steps")
    for step, rows in enumerate(batches):
        factor = min((step + 1) / ramp, 0.5 * (1 + math.cos(math.pi * step / len(batches))))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.add()
    progress.close()


def _fact_scores(logits: Tensor, facts: Tensor) -> dict[str, float]:
    """Precision, recall, and the share of items all of whose facts are right."""
    found = logits > 0
    hits = (found & facts).sum().item()
    return {
        "fact_precision": hits / max(1, found.sum().item()),
        "fact_recall": hits / max(1, facts.sum().item()),
        "all_facts_right": (found == facts).all(dim=1).float().mean().item(),
    }


# ---------------------------------------------------------------------------------------------------- images


def scene_facts(scenes: Scenes) -> np.ndarray:
    """Which facts hold of each scene: some object has two attributes together, or an attribute in a row or column.

    Returns:
        (n, facts) bool.
    """
    table = np.array([(0, 0, 0)] + [tuple(v + 1 for v in decode(code)) for code in range(1, int(scenes.cells.max()) + 1)])
    attributes = table[scenes.cells]
    kinds = [np.eye(len(words) + 1, dtype=np.float32)[attributes[..., i]][..., 1:]
             for i, words in enumerate((SIZES, COLOURS, SHAPES))]
    cell = np.arange(9)
    places = [np.broadcast_to(np.eye(3, dtype=np.float32)[where], (len(scenes), 9, 3)) for where in (cell // 3, cell % 3)]
    pairs = [(kinds[1], kinds[2]), (kinds[0], kinds[1]), (kinds[0], kinds[2])]
    pairs += [(kind, place) for kind in kinds for place in places]
    return np.concatenate([(np.einsum("npa,npb->nab", u, v) > 0).reshape(len(scenes), -1) for u, v in pairs], axis=1)


def _image(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    import torch
    from torch import nn
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    scenes = pretrain_scenes(data)
    size = data["image_size"]
    pixels = torch.from_numpy(pretrain_pictures(data)).permute(0, 3, 1, 2).contiguous()
    table = np.array([(0, 0, 0)] + [tuple(v + 1 for v in decode(code)) for code in range(1, int(scenes.cells.max()) + 1)])
    cells = torch.from_numpy(table[scenes.cells]).long()
    background = torch.from_numpy(scenes.background.astype(np.int64))
    facts = torch.from_numpy(scene_facts(scenes))
    widths = [len(words) + 1 for words in (SIZES, COLOURS, SHAPES)]
    config = ViTConfig(hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=FEED_FORWARD,
                       image_size=size, patch_size=max(1, size // 3), initializer_range=SPREAD,
                       hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = ViTModel(config, add_pooling_layer=False)
    nn.init.normal_(model.embeddings.position_embeddings)
    per_cell, of_scene = nn.Linear(WIDTH, sum(widths)), nn.Linear(WIDTH, facts.shape[1])
    ground = nn.Linear(WIDTH, int(background.max()) + 1)
    nn.init.constant_(of_scene.bias, -2.0)

    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        scaled = pixels[rows].float() / 127.5 - 1
        out = model(pixel_values=scaled, output_hidden_states=True)
        return out.hidden_states[2][:, 1:], out.last_hidden_state[:, 1:].mean(dim=1)

    def cell_loss(logits: Tensor, target: Tensor) -> Tensor:
        parts = logits.split(widths, dim=-1)
        return sum(nn.functional.cross_entropy(p.flatten(0, 1), target[..., i].flatten()) for i, p in enumerate(parts))

    def loss_of(rows: np.ndarray) -> Tensor:
        at = torch.from_numpy(rows)
        tokens, pooled = forward(at)
        wrong = nn.functional.binary_cross_entropy_with_logits(
            of_scene(pooled * POOL_SCALE), facts[at].float(), reduction="none"
        ).sum(dim=1).mean()
        return wrong + cell_loss(per_cell(tokens), cells[at]) + nn.functional.cross_entropy(ground(pooled), background[at])

    kept = len(scenes) - max(20, int(HELD_OUT * len(scenes)))
    order = numpy_stream(data["seed"], "pretrain", "image", "order")
    batches = _epochs(kept, 32, 3.5, order)
    parameters = [p for part in (model, per_cell, of_scene, ground) for p in part.parameters()]
    _optimise(loss_of, parameters, batches, 4e-3, "pretrain image")
    model.eval()
    with torch.inference_mode():
        tokens, pooled = forward(torch.arange(kept, len(scenes)))
        picked = torch.stack([part.argmax(dim=-1) for part in per_cell(tokens).split(widths, dim=-1)], dim=-1)
        scores = {"cell_accuracy": (picked == cells[kept:]).all(dim=-1).float().mean().item(),
                  "background_accuracy": (ground(pooled).argmax(dim=-1) == background[kept:]).float().mean().item(),
                  **_fact_scores(of_scene(pooled * POOL_SCALE), facts[kept:])}
    model.save_pretrained(folder, safe_serialization=True)
    ViTImageProcessor(size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    return {"held_out": len(scenes) - kept, "scores": scores}


def _epochs(rows: int, batch: int, epochs: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches over shuffled rows for a number of epochs, the last of which may be a part."""
    stream = np.concatenate([rng.permutation(rows) for _ in range(math.ceil(epochs))])
    count = max(1, int(epochs * rows) // batch)
    return [stream[i * batch : (i + 1) * batch] for i in range(count)]


# ---------------------------------------------------------------------------------------------------- captions


def form_facts(form: Form) -> set[tuple[Any, ...]]:
    """What a caption states, in pieces: attributes, pairs of attributes of one object, counts, related attributes."""
    facts: set[tuple[Any, ...]] = set()
    for atom in form:
        if atom[0] in ("on", "count"):
            facts.add(atom)
            continue
        specs = [part for part in atom[1:] if isinstance(part, tuple)]
        for spec in specs:
            stated = [(i, value) for i, value in enumerate(spec) if value != ANY]
            facts.update(stated)
            facts.update((*one, *other) for k, one in enumerate(stated) for other in stated[k + 1 :])
            if atom[0] == "number":
                facts.update(("number", atom[2], *one) for one in stated)
        if len(specs) == 2:
            one, other = ([(i, spec[i]) for i in (1, 2) if spec[i] != ANY] for spec in specs)
            facts.update((atom[0], *a, *b) for a in one for b in other)
            if atom[0] == "beside":
                facts.update((atom[0], *b, *a) for a in one for b in other)
    return facts


def _text(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    import torch
    from torch import nn
    from transformers import BertConfig, BertModel

    choose = Chooser(numpy_stream(data["seed"], "scenes", "pretrain", "captions"))
    captions = [caption_scene(scene, choose) for scene in pretrain_scenes(data) for _ in range(data["captions_per_image"])]
    tokenizer = _tokenizer([text for text, _ in captions])
    ids = tokenizer([text for text, _ in captions], truncation=True, max_length=MAX_WORDS)["input_ids"]
    index: dict[tuple[Any, ...], int] = {}
    stated = [[index.setdefault(fact, len(index)) for fact in sorted(form_facts(form), key=repr)] for _, form in captions]
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS,
                        intermediate_size=FEED_FORWARD // 2, max_position_embeddings=MAX_WORDS, pad_token_id=0,
                        initializer_range=SPREAD, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = BertModel(config, add_pooling_layer=False)
    _sinusoids(model.embeddings.position_embeddings.weight)
    words, of_caption = nn.Linear(WIDTH, len(tokenizer)), nn.Linear(WIDTH, len(index))
    neighbours = nn.Linear(WIDTH, 4 * len(tokenizer))
    nn.init.constant_(of_caption.bias, -4.0)
    mask_id, noise = SPECIAL.index("[MASK]"), torch_stream(data["seed"], "pretrain", "text", "masks")

    def collate(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = torch.zeros(len(rows), max(len(ids[row]) for row in rows), dtype=torch.long)
        facts = torch.zeros(len(rows), len(index), dtype=torch.bool)
        for place, row in enumerate(rows):
            batch[place, : len(ids[row])] = torch.tensor(ids[row])
            facts[place, stated[row]] = True
        return batch, facts

    def forward(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = batch > 0
        out = model(input_ids=batch, attention_mask=mask.long(), output_hidden_states=True)
        weights = mask.unsqueeze(-1).float()
        pooled = (out.last_hidden_state * weights).sum(dim=1) / weights.sum(dim=1)
        return out.hidden_states[1], out.last_hidden_state, pooled

    def loss_of(rows: np.ndarray) -> Tensor:
        batch, facts = collate(rows)
        half = torch.rand(len(batch), 1, generator=noise) < 0.5  # half of the captions are masked, half tell their facts
        hidden = (torch.rand(batch.shape, generator=noise) < 0.15) & (batch >= len(SPECIAL)) & half
        middle, tokens, pooled = forward(batch.masked_fill(hidden, mask_id))
        whole = ~half.squeeze(1)
        loss = 0.05 * nn.functional.binary_cross_entropy_with_logits(
            of_caption(pooled[whole] * POOL_SCALE), facts[whole].float(), reduction="none"
        ).sum() / max(1, int(whole.sum()))
        if hidden.any():
            loss = loss + nn.functional.cross_entropy(words(tokens[hidden]), batch[hidden])
        near = neighbours(middle).unflatten(-1, (4, -1))
        for slot, offset in enumerate((-2, -1, 1, 2)):  # words beside this one: a word must know where it stands
            ours, theirs = (near[:, :-offset, slot], batch[:, offset:]) if offset > 0 else (near[:, -offset:, slot], batch[:, :offset])
            loss = loss + nn.functional.cross_entropy(ours.flatten(0, 1), theirs.flatten(), ignore_index=0) / 4
        return loss

    held = max(20, int(HELD_OUT * data["pretrain"])) * data["captions_per_image"]
    kept = len(captions) - held
    order = numpy_stream(data["seed"], "pretrain", "text", "order")
    lengths = np.array([len(row) for row in ids])
    batches = _by_length(_epochs(kept, 32 * 50, 1.0, order) or [order.permutation(kept)], lengths, 32, order)
    parameters = [p for part in (model, words, of_caption, neighbours) for p in part.parameters()]
    _optimise(loss_of, parameters, batches, 3e-3, "pretrain text")
    model.eval()
    with torch.inference_mode():
        logits, facts = [], []
        for start in range(kept, len(captions), 500):
            batch, truth = collate(np.arange(start, min(start + 500, len(captions))))
            logits.append(of_caption(forward(batch)[2] * POOL_SCALE))
            facts.append(truth)
        scores = _fact_scores(torch.cat(logits), torch.cat(facts))
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return {"held_out": held, "vocabulary": len(tokenizer), "facts": len(index), "scores": scores}


def _by_length(chunks: list[np.ndarray], lengths: np.ndarray, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of captions of like length, so that little is padded; their order is shuffled within each chunk."""
    batches = []
    for chunk in chunks:
        ordered = chunk[np.argsort(lengths[chunk], kind="stable")]
        parts = [ordered[i : i + batch] for i in range(0, len(ordered) - batch + 1, batch)] or [ordered]
        batches += [parts[i] for i in rng.permutation(len(parts))]
    return batches


def _sinusoids(weight: nn.Parameter) -> None:
    """Start the position embeddings from sines and cosines, so that near places are alike from the start."""
    import torch

    place = torch.arange(weight.shape[0]).unsqueeze(1).float()
    rate = torch.exp(-math.log(100.0) * torch.arange(0, weight.shape[1], 2) / weight.shape[1])
    with torch.no_grad():
        weight[:, 0::2], weight[:, 1::2] = 1.4 * SPREAD * torch.sin(place * rate), 1.4 * SPREAD * torch.cos(place * rate)


def _tokenizer(texts: list[str]) -> Any:
    """A word-level tokenizer over the vocabulary of the pretraining captions."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = SPECIAL + sorted({word for text in texts for word in text.lower().split()})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    ends = [(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]", model_max_length=MAX_WORDS)
