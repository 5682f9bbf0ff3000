"""``as_released: true`` end to end, against a plain and slow step written from the description of the method alone.

Shared with the engine are the inputs (the plan of pairs and draws, the pixels and tokens, the first weights, the random
queue and the seeds of dropout) and the rule, which has tests of its own, called for one anchor at a time. Towers,
losses, optimiser, momentum encoder, queue and schedule are written out below in loops.
"""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch
from transformers import AutoModel

from fne.study.api import load_study
from fne.training.data import EpochPlan
from fne.training.finetune.loading import Job
from fne.training.step import build_rule
from fne.utils.seeding import stream_seed
from tests.training.finetune.conftest import engine_of
from tests.training.toy import CPU
from tests.training.toy import run as steps

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
  # few pairs are mutually best among untrained encoders; a prior that lets the posterior decide
  negatives: {{min_positives: 3, prior: 0.2, tau: 2.0}}
  memory: {{size: 48, momentum: 0.9}}
tuned: null
variants: [fne]
seeds: [3]
block: 1
baseline: fne
primary: {{metric: rsum, protocol: own}}
"""


class Reference:
    """One process, one batch at a time, one anchor at a time; what the rule picks is tested in ``tests/negatives``."""

    def __init__(self, root, config, queue) -> None:
        self.config, self.rule, self.next = config, build_rule(config).strategy, 0
        self.vit = AutoModel.from_pretrained(root / "aligned" / "vit").float()
        self.bert = AutoModel.from_pretrained(root / "aligned" / "bert").float()
        parameters = [*self.vit.parameters(), *self.bert.parameters()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        self.old_vit, self.old_bert = copy.deepcopy(self.vit).eval(), copy.deepcopy(self.bert).eval()
        self.adam = torch.optim.Adam(parameters, lr=1.0, foreach=False, fused=False)
        # a ring of (image, text, image id or None)
        held = queue.slots
        self.queue = [(held.image[0, slot].clone(), held.text[0, slot].clone(), None) for slot in range(QUEUE)]

    @staticmethod
    def embed(vit, bert, mean, std, batch) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = (batch.pixels.float() / 255 - mean) / std
        image = vit(pixel_values=pixels).last_hidden_state.mean(dim=1)
        text = bert(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state.mean(dim=1)
        return image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True)

    def pick(self, anchor, others, excluded, i: int, draw: float) -> tuple[int, bool]:
        """The candidate of one anchor, and whether the posterior decided about any."""
        row, out = (others @ anchor).detach(), torch.tensor(excluded)
        result = self.rule.select(row[None], out[None], row[i : i + 1], torch.tensor([draw]))
        return int(result.index), result.overridden is not None and bool(result.overridden[0, ~out].any())

    def step(self, batch, ids, draws, mean, std, *, epoch, training, seed) -> tuple[float, bool]:
        """The loss of a step, and whether the posterior decided anything."""
        margin, n = self.config["loss"]["margin"], len(ids)
        self.vit.train(training)
        self.bert.train(training)
        torch.manual_seed(seed)
        image, text = self.embed(self.vit, self.bert, mean, std, batch)
        with torch.no_grad():
            old_image, old_text = self.embed(self.old_vit, self.old_bert, mean, std, batch)
        loss, decided = torch.zeros(()), False
        if epoch > 0:
            self.rule.observe((image @ text.T).detach(), torch.eye(n, dtype=torch.bool))
        for d, (anchors, others, old) in enumerate(((image, text, old_text), (text, image, old_image))):
            of_image = ids
            if epoch > 0:
                others = torch.stack([*old, *(entry[1 - d] for entry in self.queue)])
                of_image = [*ids, *(entry[2] for entry in self.queue)]
            for i in range(n):
                similarities = others @ anchors[i]
                if epoch == 0:
                    j = max((float(similarities[j].detach()), j) for j in range(n) if j != i)[1]
                else:
                    excluded = [other == ids[i] for other in of_image]
                    j, by_posterior = self.pick(anchors[i], others, excluded, i, float(draws[d][i]))
                    decided |= by_posterior
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
        for i in range(n if epoch > 0 else 0):
            self.queue[self.next] = (old_image[i], old_text[i], ids[i])
            self.next = (self.next + 1) % QUEUE
        return float(loss.detach()), decided


@pytest.fixture(scope="module")
def aligned(project) -> None:
    """The release starts from pretrained encoders: so does this test, from some that know a little of each other."""
    changes = {"train.epochs": 40, "train.learning_rate": 3e-3, "encoders.image.pooling": "mean_all",
               "encoders.text.pooling": "mean_all", "finetune.randaugment_operations": 0}  # fmt: skip
    engine = steps(engine_of(load_study("tiny", changes, project), "infonce", project))
    for side, family in (("image", "vit"), ("text", "bert")):
        shutil.copytree(project / "checkpoints" / family, project / "aligned" / family)
        getattr(engine.model, side).backbone.save_pretrained(project / "aligned" / family)


@pytest.fixture(scope="module")
def released(project, aligned):
    (project / "ablations" / "studies" / "released_tiny.yaml").write_text(STUDY.format(root=project))
    return engine_of(load_study("released_tiny", root=project), "fne", project, seeds=(3,))


def test_the_study_is_that_of_the_release(released) -> None:
    config = released.config
    assert config["train"]["optimizer"] == "adam" and config["train"]["batch_size"] == BATCH
    assert config["encoders"]["image"]["pooling"] == config["encoders"]["text"]["pooling"] == "mean_all"
    assert config["warmup"] == {"epochs": 1, "rule": "hardest", "mask": "diagonal", "margin": 0.2}
    assert config["memory"]["initial"] == "random" and config["memory"]["fill"] == "after_warmup"
    assert config["finetune"]["dropout"] == "until_first_validation" and config["finetune"]["projection"] == "none"
    assert released.train.tokens.longest == config["encoders"]["text"]["max_length"] == 30


def test_the_losses_of_fifty_steps_agree_with_a_plain_reference(project, released) -> None:
    engine, train = released, released.train
    assert engine.steps == 10
    reference = Reference(project, engine.config, copy.deepcopy(engine.memory.queue))
    match: list[float] = []
    backward = engine.learner.backward
    engine.learner.backward = lambda losses: (match.append(float(losses.detach())), backward(losses))[1]
    steps(engine, STEPS)

    expected, decided, same = [], 0, 0
    for step in range(STEPS):
        epoch, at = divmod(step, 10)
        plan = EpochPlan.draw(train, [3], epoch, BATCH, engine.config["train"]["epoch_unit"])
        if at == 0:
            reference.rule.start_epoch()
        images, captions = plan.image_row[0, at].tolist(), plan.caption_row[0, at].tolist()
        uniform, noise, _ = [part[0] for part in next(plan.batches(at))[2:]]
        keys = (noise[0] & (2**62 - 1)).tolist()
        (batch,) = train.batches([Job(images, keys, captions, False)], CPU, workers=0)
        # Three validations an epoch of ten steps: the first, which ends dropout, follows its fourth step.
        loss, by_posterior = reference.step(
            batch, images, uniform, train.mean / 255, train.std / 255,
            epoch=epoch, training=step < 4, seed=stream_seed(3, "backbone", step, 0),
        )  # fmt: skip
        expected.append(loss)
        decided, same = decided + by_posterior, same + len(images) - len(set(images))
    assert decided > 0 and same > 0, "the posterior decides, and captions of one image meet in a batch"
    torch.testing.assert_close(torch.tensor(match), torch.tensor(expected), rtol=2e-4, atol=2e-5)
    assert len({round(loss, 4) for loss in expected}) > 30
