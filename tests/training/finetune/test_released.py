"""``as_released: true`` end to end, against a plain and slow step written from the description of the method alone.

Shared with the engine are only the inputs: the plan of pairs and draws, the pixels and tokens, the first weights, the
random queue and the seeds of dropout. Towers, statistics, weights, sampling, losses, optimiser, momentum encoder, queue
and schedule are written out below in loops and float64 scalars.
"""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch
from transformers import AutoModel

from fne.study.api import load_study, resolve
from fne.training.data import EpochPlan
from fne.training.engine import Engine
from fne.training.finetune.loading import Job
from fne.training.pairs import open_corpus
from fne.utils.seeding import stream_seed

CPU = torch.device("cpu")
STEPS, BATCH, QUEUE = 50, 32, 48
STUDY = """
title: As released, tiny
question: Is it the release?
regime: finetune
as_released: true
data: {{dataset: scenes, train: 64, val: 24, test: 24, prevalence: 0.005}}
encoders: {{image: {{checkpoint: {root}/aligned/vit}}, text: {{checkpoint: {root}/aligned/bert}}}}
set:
  finetune: {{image_size: 48}}
  train: {{epochs: 8, milestones: [2, 4], learning_rate: 1.0e-3}}
  # few pairs are mutually best among untrained encoders; a prior that lets the posterior speak
  negatives: {{min_positives: 3, prior: 0.2, tau: 2.0}}
  memory: {{size: 48, momentum: 0.9}}
tuned: null
variants: [fne]
seeds: [3]
block: 1
baseline: fne
primary: {{metric: rsum, protocol: own}}
"""


def normal(x: float, mean: float, variance: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


class Running:
    """Mean and variance of one population over an epoch, batch by batch."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: list[float]) -> None:
        if values:
            self.mean = (self.mean * self.count + sum(values)) / (self.count + len(values))
            self.count += len(values)
            self.squares += sum((value - self.mean) ** 2 for value in values)

    @property
    def variance(self) -> float:
        return self.squares / (self.count - 1)


class Reference:
    """One process, one batch at a time, one anchor at a time."""

    def __init__(self, root, config, queue) -> None:
        self.config = config
        self.vit = AutoModel.from_pretrained(root / "aligned" / "vit").float()
        self.bert = AutoModel.from_pretrained(root / "aligned" / "bert").float()
        for model in (self.vit, self.bert):
            for parameter in model.parameters():
                parameter.requires_grad_(True)
        self.old_vit, self.old_bert = copy.deepcopy(self.vit).eval(), copy.deepcopy(self.bert).eval()
        parameters = [*self.vit.parameters(), *self.bert.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=1.0, foreach=False, fused=False)
        # a ring of (image, text, image id or None)
        self.next = 0
        self.queue = [(queue.image[0, slot].clone(), queue.text[0, slot].clone(), None) for slot in range(QUEUE)]
        self.new_epoch()

    def new_epoch(self) -> None:
        self.positives, self.negatives = Running(), Running()

    @staticmethod
    def embed(vit, bert, mean, std, batch) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = (batch.pixels.float() / 255 - mean) / std
        image = vit(pixel_values=pixels).last_hidden_state.mean(dim=1)
        text = bert(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state.mean(dim=1)
        return image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True)

    def observe(self, table: list[list[float]]) -> None:
        n, positives, negatives = len(table), [], []
        for i in range(n):
            column = [table[j][i] for j in range(n)]
            if max(table[i]) == table[i][i] and max(column) == table[i][i]:
                positives.append(table[i][i])
                negatives.append(max([0.0] + [table[i][j] for j in range(n) if j != i]))
                negatives.append(max([0.0] + [column[j] for j in range(n) if j != i]))
        self.positives.add(positives)
        self.negatives.add(negatives)

    def weight(self, s: float, own: float) -> tuple[float, bool]:
        options = self.config["negatives"]
        if s <= self.positives.mean - self.config["loss"]["margin"]:
            return 0.0, False
        if self.positives.count > options["min_positives"]:
            plus = normal(s, self.positives.mean, self.positives.variance)
            minus = normal(s, self.negatives.mean, self.negatives.variance)
            p = plus / (plus + (1 / options["prior"] - 1) * minus)
            if p > options["posterior_threshold"]:
                return math.exp(-options["tau"] * p), True
        return math.exp(-options["tau"] * (s - own) ** 2), False

    def pick(self, row: list[float], own: float, allowed: list[bool], draw: float) -> tuple[int, bool, bool]:
        result = [self.weight(s, own) if ok else (0.0, False) for s, ok in zip(row, allowed, strict=True)]
        weights = [w for w, _ in result]
        spoke = any(said for _, said in result)
        if sum(weights) == 0:
            best = max((s, -j) for j, (s, ok) in enumerate(zip(row, allowed, strict=True)) if ok)
            return -best[1], spoke, True
        target, total = draw * sum(weights), 0.0
        for j, w in enumerate(weights):
            total += w
            if total > target:
                return j, spoke, False
        return max(range(len(weights)), key=weights.__getitem__), spoke, False

    def step(self, batch, ids, draws, mean, std, *, epoch, training, seed) -> dict[str, float]:
        margin, n = self.config["loss"]["margin"], len(ids)
        self.vit.train(training)
        self.bert.train(training)
        torch.manual_seed(seed)
        image, text = self.embed(self.vit, self.bert, mean, std, batch)
        with torch.no_grad():
            old_image, old_text = self.embed(self.old_vit, self.old_bert, mean, std, batch)
        loss, spoke, fell = torch.zeros(()), 0, 0
        if epoch == 0:
            for anchors, others in ((image, text), (text, image)):
                for i in range(n):
                    similarities = others @ anchors[i]
                    hardest = max((float(similarities[j]), j) for j in range(n) if j != i)[1]
                    loss = loss + (margin + similarities[hardest] - similarities[i]).clamp(min=0)
        else:
            self.observe((image @ text.T).double().tolist())
            for d, anchors in enumerate((image, text)):
                own_side = old_text if d == 0 else old_image
                candidates = [*own_side, *(entry[1 - d] for entry in self.queue)]
                of_image = [*ids, *(entry[2] for entry in self.queue)]
                stacked = torch.stack(candidates)
                for i in range(n):
                    similarities = stacked @ anchors[i]
                    row = similarities.double().tolist()
                    allowed = [other != ids[i] for other in of_image]
                    j, said, fallen = self.pick(row, row[i], allowed, float(draws[d][i]))
                    spoke, fell = spoke + said, fell + fallen
                    loss = loss + (margin + similarities[j] - similarities[i]).clamp(min=0)
        loss = loss / n
        self.adam.zero_grad()
        loss.backward()
        gradients = [p.grad for p in [*self.vit.parameters(), *self.bert.parameters()] if p.grad is not None]
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        for g in gradients:
            g.mul_(min(1.0, self.config["train"]["gradient_clip"] / norm))
        rate = self.config["train"]["learning_rate"]
        for milestone in self.config["train"]["milestones"]:
            rate *= 0.1 if epoch >= milestone else 1
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()
        keep = self.config["memory"]["momentum"]
        with torch.no_grad():
            for old, new in ((self.old_vit, self.vit), (self.old_bert, self.bert)):
                for theta, online in zip(old.parameters(), new.parameters(), strict=True):
                    theta.copy_(keep * theta + (1 - keep) * online)
        if epoch > 0:
            for i in range(n):
                self.queue[self.next] = (old_image[i], old_text[i], ids[i])
                self.next = (self.next + 1) % QUEUE
        return {"loss": float(loss), "spoke": spoke, "fallback": fell}


@pytest.fixture(scope="module")
def aligned(project) -> None:
    """The release starts from pretrained encoders: so does this test, from some that know a little of each other."""
    changes = {"train.epochs": 40, "train.learning_rate": 3e-3, "encoders.image.pooling": "mean_all",
               "encoders.text.pooling": "mean_all", "finetune.randaugment_operations": 0}  # fmt: skip
    study = load_study("tiny", changes, project)
    config = resolve(study, "infonce")
    engine = Engine(config, [0], *open_corpus(study, project).training(config, CPU)[:2], CPU)
    engine.run(lambda score: None)
    for side, family in (("image", "vit"), ("text", "bert")):
        shutil.copytree(project / "checkpoints" / family, project / "aligned" / family)
        getattr(engine.model, side).backbone.save_pretrained(project / "aligned" / family)


@pytest.fixture(scope="module")
def released(project, aligned):
    (project / "ablations" / "studies" / "released_tiny.yaml").write_text(STUDY.format(root=project))
    study = load_study("released_tiny", root=project)
    config = resolve(study, "fne")
    train, val, _ = open_corpus(study, project).training(config, CPU)
    return config, train, val


def test_the_study_states_the_release(released) -> None:
    config, train, _ = released
    assert config["train"]["optimizer"] == "adam" and config["train"]["batch_size"] == BATCH
    assert config["encoders"]["image"]["pooling"] == config["encoders"]["text"]["pooling"] == "mean_all"
    assert config["warmup"] == {"epochs": 1, "rule": "hardest", "mask": "diagonal", "margin": 0.2}
    assert config["memory"]["initial"] == "random" and config["memory"]["fill"] == "after_warmup"
    assert config["finetune"]["dropout"] == "until_first_validation" and config["finetune"]["projection"] == "none"
    assert train.tokens.longest == config["encoders"]["text"]["max_length"] == 30


def test_the_losses_of_fifty_steps_agree_with_a_plain_reference(project, released) -> None:
    config, train, val = released
    engine = Engine(config, [3], train, val, CPU)
    assert engine.steps == 10
    reference = Reference(project, config, copy.deepcopy(engine.memory.queue))
    match: list[float] = []
    backward = engine.learner.backward
    engine.learner.backward = lambda losses: (match.append(float(losses.detach())), backward(losses))[1]

    def after(score: float | None) -> None:
        if engine.step == STEPS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(after)

    mean, std = train.mean / 255, train.std / 255
    expected, spoke, fell, same = [], 0, 0, 0
    for step in range(STEPS):
        epoch, at = divmod(step, 10)
        plan = EpochPlan.draw(train, [3], epoch, BATCH, config["train"]["epoch_unit"])
        if at == 0:
            reference.new_epoch()
        images, captions = plan.image_row[0, at].tolist(), plan.caption_row[0, at].tolist()
        keys = (plan.noise[0, at, 0] & (2**62 - 1)).tolist()
        (batch,) = train.batches([Job(images, keys, captions, False)], CPU, workers=0)
        seed = stream_seed(3, "backbone", step, 0)
        result = reference.step(
            batch, images, plan.uniform[0, at], mean, std, epoch=epoch, training=step < 4, seed=seed
        )  # three validations an epoch of ten steps: the first follows its fourth step
        expected.append(result["loss"])
        spoke, fell = spoke + result["spoke"], fell + result["fallback"]
        same += len(images) - len(set(images))
    assert spoke > 0 and same > 0, "the posterior speaks, and captions of one image meet in a batch"
    torch.testing.assert_close(torch.tensor(match), torch.tensor(expected), rtol=2e-4, atol=2e-5)
    assert len({round(loss, 4) for loss in expected}) > 30
