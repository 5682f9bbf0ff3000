"""What the engine trains in the regime ``finetune``: two towers, from pixels and tokens, on one process or on several.

The loss is computed on the embeddings of the whole global batch as leaves; their gradient is then carried into the
encoders, at once or chunk by chunk. Both give the gradient of the whole batch (GradCache; Gao et al., RepL4NLP 2021).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fne.training.data import EpochPlan, steps_per_epoch
from fne.training.distributed import World
from fne.training.finetune.loading import PICTURES_AT_ONCE, Job, Loaded, PixelSplit, sides
from fne.training.finetune.towers import SIDES, Tower, Towers
from fne.training.learner import Learner
from fne.training.step import Batch
from fne.utils.errors import bad_input
from fne.utils.seeding import stream_seed

TEMPERATURES = (0.001, 0.5)
"""Bounds of a learned temperature, those of ALBEF."""


class FinetuneLearner(Learner):
    """One pair of towers; the replicate axis has length 1.

    Args:
        config: The resolved config.
        seeds: One seed.
        train: The training split.
        device: Where the towers live.

    Raises:
        UserError: More than one seed, or a batch that the processes cannot share equally.
    """

    def __init__(self, config: dict[str, Any], seeds: Sequence[int], train: PixelSplit, device: torch.device) -> None:
        if len(seeds) != 1:
            raise bad_input("end-to-end training takes one seed at a time", key="seeds", value=list(seeds))
        self.train, self.device, self.world, self.seed = train, device, World.here(), seeds[0]
        self.section, settings = config["finetune"], config["train"]
        self.model = Towers(config, train.encoders, self.seed).to(device)
        self.dim, self.temperature = self.model.dim, self.model.temperature
        self.mine = self.world.share(settings["batch_size"])
        part = settings["batch_size"] // self.world.size
        self.chunk = min(self.section["chunk"] or part, part)
        if part % self.chunk:
            allowed = f"a part of {part}"
            raise bad_input(
                "does not divide the pairs of a process", key="finetune.chunk", value=self.chunk, allowed=allowed
            )
        self.steps = steps_per_epoch(train, settings["batch_size"], settings["epoch_unit"])
        self.first_validation = -(-self.steps // settings["validations"])
        self.frozen = [side for side in SIDES if self.section["trained"] not in (side, "both")]
        # A text encoder that draws nothing and leaves padding out may take a batch in parts; on a GPU one is faster.
        self.sorts_captions = "text" in self.frozen and train.tokens.longest is None and device.type == "cpu"
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.pooled: list[dict[str, Tensor]] = []
        self.precision = torch.bfloat16 if self.section["precision"] == "bfloat16" else None

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        groups, towers = [], [getattr(self.model, side) for side in SIDES]
        own = [(name in tower.own, p) for tower in towers for name, p in tower.backbone.named_parameters()]
        parts = [
            (1.0, [p for is_own, p in own if not is_own]),
            (self.section.get("joint_factor", 1.0), [p for is_own, p in own if is_own]),
            (
                self.section.get("projection_factor", 1.0),
                [p for tower in towers for p in tower.projection.parameters()],
            ),
            (self.section.get("temperature_factor", 1.0), [] if self.temperature is None else [self.temperature]),
        ]
        for factor, found in parts:
            decayed, plain = [p for p in found if p.ndim > 1], [p for p in found if p.ndim <= 1]
            for parameters, decay in ((decayed, weight_decay), (plain, 0.0)):
                if parameters:
                    groups.append({"params": parameters, "weight_decay": decay, "factor": factor})
        return groups

    def start_epoch(self, epoch: int) -> None:
        """Thaw the backbones once the epochs in which only the projections train are over."""
        for side in SIDES:
            getattr(self.model, side).thaw(projections_only=epoch < self.section["frozen_epochs"])

    def inputs(self, plan: EpochPlan, first: int) -> Iterator[Loaded]:
        noise = torch.stack([keys[0, 0, self.mine] for keys in plan.draws("dropout", first)]) & (2**62 - 1)
        images, captions = (part[0, first:, self.mine].numpy(force=True) for part in (plan.image_row, plan.caption_row))
        jobs = [Job(i, k, c, False) for i, k, c in zip(images, noise.numpy(force=True), captions, strict=True)]
        yield from self.train.batches(jobs, self.device)

    def embed(self, inputs: Loaded, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        if self.temperature is not None:
            with torch.no_grad():
                self.temperature.clamp_(*TEMPERATURES)
        dropout = self.section["dropout"]
        on = dropout == "always" or (dropout == "until_first_validation" and step < self.first_validation)
        self.model.set_mode(training=on, norms=self.section["norms"], trained=self.section["trained"])  # type: ignore[operator]  # towers
        self.pending: list[tuple[Loaded, int]] = []
        self.pooled: list[dict[str, Tensor]] = []  # type: ignore[no-redef]
        found: list[tuple[Tensor, Tensor]] = []
        for at, chunk in enumerate(inputs.chunks(self.chunk)):
            number = self.world.rank * (len(inputs.pixels) // self.chunk) + at
            self.pending.append((chunk, stream_seed(self.seed, "backbone", step, number)))
            self.pooled.append({})
        self.graph = None
        if len(self.pending) == 1:
            self.graph = self._forward(self.model, *self.pending[0], self.pooled[0])
            found = [self.graph]
        else:
            with torch.no_grad():
                both = zip(self.pending, self.pooled, strict=True)
                found = [self._forward(self.model, *chunk, held) for chunk, held in both]
        mine = [torch.cat(parts) for parts in zip(*found, strict=True)]
        self.leaves = [self.world.gather(part).requires_grad_() for part in mine]
        return self.leaves[0].unsqueeze(0), self.leaves[1].unsqueeze(0)

    def backward(self, losses: Tensor) -> None:
        losses.sum().backward()
        part = len(self.leaves[0]) // self.world.size
        gradients = [leaf.grad[self.world.rank * part : (self.world.rank + 1) * part] for leaf in self.leaves]  # type: ignore[index]  # computed
        for at, chunk in enumerate(self.pending):
            found = self.graph
            if found is None:
                found = self._forward(self.model, *chunk, self.pooled[at])
            rows = slice(at * self.chunk, (at + 1) * self.chunk)
            both = [(e, g[rows]) for e, g in zip(found, gradients, strict=True) if e.requires_grad]
            if both:
                torch.autograd.backward([e for e, _ in both], [g for _, g in both])
        self.pending, self.pooled, self.graph, self.leaves = [], [], None, []
        self.world.sum_gradients(p for p in self.model.parameters() if p is not self.temperature)  # its is whole here

    def _forward(
        self, model: nn.Module, batch: Loaded, seed: int | None = None, pooled: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of a batch.

        Args:
            model: The online or the momentum towers.
            batch: A chunk.
            seed: Of what draws inside an encoder.
            pooled: Pooled features of sides whose backbone never changes; missing ones are computed and put in.
        """
        if seed is not None:
            torch.manual_seed(seed)
        pooled = {} if pooled is None else pooled
        found = []
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            for side in SIDES:
                tower, features = getattr(model, side), pooled.get(side)
                if features is None:
                    features = self._pool(tower, side, batch)
                    if side in self.frozen:
                        pooled[side] = features
                found.append(tower.project(features))
        return found[0], found[1]

    def _pool(self, tower: Tower, side: str, batch: Loaded) -> Tensor:
        """Pooled features (B, W); a frozen text encoder is spared most of the padding."""
        if side == "image":
            return tower.pool(self.train.normalised(batch.pixels))
        if not self.sorts_captions:
            return tower.pool(batch.ids, batch.mask)
        places, parts = zip(*((at, tower.pool(ids, mask)) for at, ids, mask in batch.alike()), strict=True)
        return torch.cat(parts)[torch.cat(places).argsort()]

    @torch.no_grad()
    def embed_past(self, momentum: nn.Module, inputs: Loaded) -> tuple[Tensor, Tensor]:
        chunks = inputs.chunks(self.chunk)
        pooled = self.pooled or [{} for _ in chunks]  # a frozen backbone and its average are one
        found = [self._forward(momentum, chunk, None, held) for chunk, held in zip(chunks, pooled, strict=True)]
        image, text = (self.world.gather(torch.cat(parts)) for parts in zip(*found, strict=True))
        return image.unsqueeze(0), text.unsqueeze(0)

    @torch.no_grad()
    def embed_rows(self, image_row: Tensor, caption_row: Tensor) -> tuple[Tensor, Tensor]:
        image, text = self._evaluated([Job.plain(image_row[0].tolist(), caption_row[0].tolist())], workers=0)
        return image.unsqueeze(0), text.unsqueeze(0)

    @torch.no_grad()
    def embed_pairs(
        self, image_row: Tensor, caption_row: Tensor, chunk: int = PICTURES_AT_ONCE
    ) -> tuple[Tensor, Tensor]:
        total, mine = image_row.shape[1], slice(self.world.rank, None, self.world.size)
        images, captions = image_row[0, mine].tolist(), caption_row[0, mine].tolist()
        jobs = [Job.plain(images[at : at + chunk], captions[at : at + chunk]) for at in range(0, len(images), chunk)]
        image, text = (self.world.gather_rows(part, total) for part in self._evaluated(jobs, workers=None))
        return image.unsqueeze(0), text.unsqueeze(0)

    def _evaluated(self, jobs: list[Job], workers: int | None) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) of the pairs of all jobs in evaluation mode."""
        self.model.eval()
        loaded = self.train.batches(jobs, self.device, workers)
        found = [self._forward(self.model, chunk) for batch in loaded for chunk in batch.chunks(self.chunk)]
        image, text = (torch.cat(parts) for parts in zip(*found, strict=True))
        return image, text

    def embed_split(self, split: PixelSplit, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # its own
        kept = self.kept.setdefault(id(split), {})
        image, text = embed_split(model or self.model, split, self.device, self.precision, self.frozen, kept)  # type: ignore[arg-type]
        return image.unsqueeze(0), text.unsqueeze(0)

    def clip(self, limit: float | None) -> None:
        if limit is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), limit)

    def keep(self, best: dict[str, Tensor], better: Tensor) -> None:
        if better[0]:
            for name, value in self.model.state_dict().items():
                best[name].copy_(value)

    def stacked(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        learned = self.model.learned()  # type: ignore[operator]  # of towers
        return {name: value.unsqueeze(0) for name, value in weights.items() if name in learned}

    def momentum_copy(self) -> nn.Module:
        return copy.deepcopy(self.model).requires_grad_(False).eval()


@torch.no_grad()
def embed_split(
    model: Towers,
    split: PixelSplit,
    device: torch.device,
    precision: torch.dtype | None,
    frozen: Sequence[str] = (),
    kept: dict[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, D) of all images and (M, D) of all captions of a split, in evaluation mode, on every rank.

    Args:
        model: The towers.
        split: Any split.
        device: Theirs.
        precision: Of the forward pass under autocast; None: float32.
        frozen: Sides whose backbone never changes.
        kept: Takes the pooled features of those sides, which are then computed once.
    """
    model.eval()
    world, found = World.here(), []
    pictures, captions, places = sides(split, world.rank, world.size)
    with torch.autocast(device.type, precision, enabled=precision is not None):
        for side, jobs, total in (("image", pictures, len(split.files)), ("text", captions, len(split.tokens))):
            tower, pooled = getattr(model, side), (kept or {}).get(side)
            if pooled is None:
                batches = split.batches(jobs, device, workers=None if side == "image" else 0)
                inputs = ((split.normalised(b.pixels),) if side == "image" else (b.ids, b.mask) for b in batches)
                pooled = torch.cat([tower.pool(*one) for one in inputs])
                if side == "text":
                    pooled = pooled[places.argsort().to(device)]
            if kept is not None and side in frozen:
                kept[side] = pooled
            found.append(world.gather_rows(tower.project(pooled), total))
    return found[0], found[1]
