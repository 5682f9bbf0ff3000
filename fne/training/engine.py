"""The engine: epochs over pairs, a warm-up, the main phase, validation and selection; resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fne.evaluation.ranking import validation_recalls
from fne.negatives.memory.kind import build_memory
from fne.protocols import DIRECTIONS
from fne.training.calibration import check_known, known_pairs
from fne.training.context import Context, Guide
from fne.training.data import EpochPlan, Pairs, steps_per_epoch
from fne.training.diagnostics import Diagnostics
from fne.training.distributed import World
from fne.training.learner import Inputs, build_learner
from fne.training.pick_log import PickLog, PickPlan
from fne.training.step import Batch, Moment, Step, build_rule, require_kernel, warmup_rule

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
WATCH_EVERY = 16
"""Every so many steps the weights of all candidates are looked at; the last step of an epoch always is."""


class Engine:
    """Trains R replicates of one variant side by side.

    Args:
        config: The resolved config of the variant.
        seeds: R seeds; replicate r equals the same seed trained alone.
        train, val: The splits, on the device; they say what is trained (:func:`build_learner`).
        device: Where everything lives.
    """

    def __init__(
        self, config: dict[str, Any], seeds: Sequence[int], train: Pairs, val: Pairs, device: torch.device
    ) -> None:
        self.config, self.seeds, self.train, self.val, self.device = config, list(seeds), train, val, device
        settings = config["train"]
        self.batch_size, self.epochs = settings["batch_size"], settings["epochs"]
        self.validations = settings["validations"]
        self.steps = steps_per_epoch(train, self.batch_size, settings["epoch_unit"])
        self.learner = build_learner(config, self.seeds, train, device)
        self.model = self.learner.model
        self.parameters = list(self.model.parameters())
        self.optimizer = OPTIMIZERS[settings["optimizer"]](
            self.learner.parameter_groups(settings["weight_decay"]), lr=settings["learning_rate"], fused=True
        )
        self.rule = build_rule(config)
        if self.rule.fused:
            require_kernel(self.rule, device)
        check_known(self.rule.strategy, config, val)
        self.warmup = warmup_rule(config) if config["warmup"]["epochs"] else self.rule
        self.rule.strategy.prepare((len(train.caption_count), len(train.caption_image)), (len(self.seeds),), device)
        self.needs = {*self.rule.strategy.needs, *self.rule.loss.needs}
        self.guide: Guide | None = None
        self.memory = build_memory(config["memory"], self.learner, self.seeds, device)
        self.diagnostics = Diagnostics(len(self.seeds), self.epochs, device, train)
        self.step_of = Step(train, self.diagnostics, World.here())
        self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.best_score = torch.full((len(self.seeds),), -math.inf, dtype=torch.float64)
        self.best_epoch = torch.full((len(self.seeds),), -1, dtype=torch.int64)
        self.step = 0
        self.curves: list[dict[str, Any]] = []
        plan = PickPlan.of(config["audit"], epochs=self.epochs, steps=self.steps, batch_size=self.batch_size)
        self.picks = PickLog(plan, self.seeds)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps

    def run(self, after_step: Callable[[float | None], None]) -> None:
        """Train from the current step to the end.

        Args:
            after_step: Called after every step with the mean validation rsum where there was a validation, else None;
                this is where a caller checkpoints and reports.
        """
        products = torch.backends.cuda.matmul
        before, products.allow_tf32 = products.allow_tf32, self.config["train"].get("products") == "tf32"
        try:
            self._epochs(after_step)
        finally:
            products.allow_tf32 = before

    def _epochs(self, after_step: Callable[[float | None], None]) -> None:
        while self.step < self.total_steps:
            epoch, first = divmod(self.step, self.steps)
            main = epoch >= self.config["warmup"]["epochs"]
            self.diagnostics.epoch = epoch
            if first == 0:
                self.diagnostics.reset()
                if main:
                    if images := self.rule.strategy.calibration_images:
                        pairs = known_pairs(self.learner, self.val, self.seeds, epoch, images)
                        self.rule.strategy.calibrate(*pairs)
                    self.rule.strategy.start_epoch()
                    if "guide" in self.needs and self.guide is None:
                        self.guide = Guide(self.learner, self.train)
            self.learner.start_epoch(epoch)
            plan = EpochPlan.draw(self.train, self.seeds, epoch, self.batch_size, self.config["train"]["epoch_unit"])
            both = zip(self.learner.inputs(plan, first), plan.batches(first), strict=True)
            for at, (inputs, drawn) in enumerate(both, start=first):
                last, due = at == self.steps - 1, validates(at, self.steps, self.validations)
                batch = Batch(*drawn)
                watch, keep = last or at % WATCH_EVERY == 0, self.picks.plan.keeps(epoch, at)
                if main:
                    self.memory.prepare(plan, at, self.step)
                self._step(inputs, batch, Moment(self.step, main, watch, keep), epoch)
                self.step += 1
                if last:
                    self.picks.flush()
                after_step(self._validate(epoch, main, last) if due else None)

    def _step(self, inputs: Inputs, batch: Batch, moment: Moment, epoch: int) -> None:
        rate = learning_rate(self.config["train"], self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        image, text = self.learner.embed(inputs, batch, self.step)
        candidates = self.memory.candidates(image, text, inputs, batch, main=moment.main)
        context = Context(image, text, batch, candidates, self.memory.past, self.guide)
        losses, picks = self.step_of.losses(self.rule if moment.main else self.warmup, context, moment)
        for parameter in self.parameters:  # the optimiser's zero_grad takes ten times as long
            parameter.grad = None
        self.learner.backward(losses)
        self.learner.clip(self.config["train"]["gradient_clip"])
        self.optimizer.step()
        self.memory.after_step(batch, self.step)
        if moment.keep:
            self.picks.keep(picks, epoch=epoch, step=self.step)

    def _validate(self, epoch: int, main: bool, last: bool) -> float:
        """Validate, select, and at the end of an epoch write a row of the curves per replicate.

        Returns:
            The mean validation rsum.
        """
        rule = self.rule if main else self.warmup
        image, text = self.learner.embed_split(self.val)
        scores = []
        for r, seed in enumerate(self.seeds):
            recalls = validation_recalls(image[r], text[r], self.val.caption_image)
            scores.append(recalls["rsum"])
            if not last:
                continue
            row = self.diagnostics.row(r, truth=self.train.truth is not None, posterior=rule.strategy.models_posterior)
            rate = learning_rate(self.config["train"], self.step - 1, self.total_steps)
            self.curves.append(
                {
                    "seed": seed,
                    "epoch": epoch,
                    "step": self.step,
                    "phase": "main" if main else "warmup",
                    "learning_rate": rate,
                    "val_rsum": recalls["rsum"],
                    **{f"val_r1_{d}": recalls[f"r1_{d}"] for d in DIRECTIONS},
                    **row,
                }
            )
        self._select(epoch, main, torch.tensor(scores, dtype=torch.float64))
        return sum(scores) / len(scores)

    def _select(self, epoch: int, main: bool, scores: Tensor) -> None:
        """Take over the weights of the replicates that this epoch is better for, by the config's rule."""
        if not main and self.epochs > self.config["warmup"]["epochs"]:
            return
        better = scores > self.best_score
        if self.config["train"]["selection"] == "last":
            better = torch.full_like(better, epoch == self.epochs - 1)
        self.best_score = torch.where(better, scores, self.best_score)
        self.best_epoch = torch.where(better, epoch, self.best_epoch)
        self.learner.keep(self.best, better)

    def release(self) -> None:
        """Let go of what only training needs: a guide and a memory may hold the whole split."""
        del self.guide, self.memory, self.optimizer

    def state(self) -> dict[str, Tensor]:
        """Every tensor that an exact resume needs, by a flat name; curves and the step travel beside it."""
        parts: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "best": self.best,
            "strategy": self.rule.strategy.state(),
            "memory": self.memory.state(),
            "diagnostics": self.diagnostics.state(),
            "picks": self.picks.state(),
            "selection": {"score": self.best_score, "epoch": self.best_epoch},
        }
        if self.guide is not None:
            parts["guide"] = self.guide.model.state_dict()
        for index, parameter in enumerate(self.parameters):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                parts.setdefault("optimizer", {})[f"{index}.{name}"] = value
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def load_state(self, state: dict[str, Tensor], step: int, curves: list[dict[str, Any]]) -> None:
        """Take over what :meth:`state` returned."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            part, name = key.split("/", 1)
            parts.setdefault(part, {})[name] = value.to(self.device) if part not in ("picks", "selection") else value
        self.model.load_state_dict(parts["model"], strict=True)
        self.best = parts["best"]
        self.rule.strategy.load_state(parts.get("strategy", {}))
        self.diagnostics.load_state(parts["diagnostics"])
        self.picks.load_state(parts.get("picks", {}))
        self.best_score, self.best_epoch = parts["selection"]["score"], parts["selection"]["epoch"]
        if "guide" in parts:
            self.guide = Guide(self.learner, self.train, parts["guide"])
        self.memory.load_state(parts.get("memory", {}))
        for index, parameter in enumerate(self.parameters):
            prefix = f"{index}."
            self.optimizer.state[parameter] = {
                name.removeprefix(prefix): laid_out_as(parameter, value)
                for name, value in parts.get("optimizer", {}).items()
                if name.startswith(prefix)
            }
        self.step, self.curves = step, curves


def laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A tensor in the memory layout of a parameter: fused optimisers walk through both side by side in memory."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def validates(at: int, steps: int, times: int) -> bool:
    """Whether a validation follows step ``at`` of an epoch's ``steps``, of which there are ``times``, evenly spaced."""
    return (at + 1) * times // steps > at * times // steps


def learning_rate(settings: dict[str, Any], step: int, total: int) -> float:
    """Rate of a step: linear from 0 over ``lr_warmup_steps``, then by the schedule.

    ``constant``; ``cosine``: ``(1 + cos(pi t))/2`` down to 0; ``milestones``: times ``decay`` at each of them.
    """
    base, ramp = settings["learning_rate"], settings["lr_warmup_steps"]
    if step < ramp:
        return base * (step + 1) / ramp
    if settings["schedule"] == "constant":
        return base
    if settings["schedule"] == "milestones":
        epoch = step * settings["epochs"] // total
        return base * settings["decay"] ** sum(milestone <= epoch for milestone in settings["milestones"])
    return base * 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, total - ramp)))
