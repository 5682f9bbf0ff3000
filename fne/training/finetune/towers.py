"""The two towers: a backbone of ``transformers``, pooled, perhaps projected, L2-normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fne.encoders.encoders import load
from fne.encoders.image_encoder import ImageEncoder
from fne.encoders.text_encoder import TextEncoder
from fne.training.finetune.parts import own_projections, trained_parameters
from fne.utils.errors import bad_input
from fne.utils.seeding import stream_seed

SIDES = ("image", "text")
_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Tower(nn.Module):
    """``normalise(projection(pool(backbone(x))))``; the norm is taken in float32.

    Args:
        encoder: Backbone, pooling and what goes in, as read from a checkpoint.
        trained: The parameters of the backbone that are trained.
        projection: ``none``, ``linear`` (``W n(x) + b``) or ``mlp`` (``W2 gelu(W1 n(x) + b1) + b2``), n a layer norm.
        width: Of a pooled feature.
        hidden, dim: Of the projection; None where it has none.
    """

    def __init__(
        self,
        encoder: ImageEncoder | TextEncoder,
        trained: list[nn.Parameter],
        projection: str,
        width: int,
        hidden: int | None,
        dim: int | None,
    ) -> None:
        super().__init__()
        self.__dict__["encoder"] = encoder  # not a submodule: its model is the backbone below
        self.backbone = encoder.model
        names = {id(parameter): name for name, parameter in self.backbone.named_parameters()}
        self.trained = [names[id(parameter)] for parameter in trained]
        self.own = [names[id(parameter)] for parameter in own_projections(encoder)]
        layers: list[nn.Module] = []
        if projection == "linear":
            layers = [nn.LayerNorm(width), nn.Linear(width, dim)]  # type: ignore[arg-type]  # there is one
        elif projection == "mlp":
            layers = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, dim)]  # type: ignore[arg-type]  # likewise
        self.projection = nn.Sequential(*layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), or tokens (B, T) and their mask (B, T) -> (B, D) float32, L2-normalised."""
        return self.project(self.pool(*inputs))

    def thaw(self, *, projections_only: bool) -> None:
        """Give the trained parameters of the backbone gradients, or only those of the checkpoint's own projections."""
        chosen = {*self.trained} & {*self.own} if projections_only else {*self.trained}
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in chosen)

    def pool(self, *inputs: Tensor) -> Tensor:
        """Pooled features (B, W) of the backbone."""
        return self.encoder.features(self.backbone, *inputs)  # type: ignore[operator, union-attr]  # no module

    def project(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, W) -> embeddings (B, D)."""
        return nn.functional.normalize(self.projection(pooled).float(), dim=-1)


class Towers(nn.Module):
    """An image tower and a text tower whose embeddings are compared by cosine.

    Args:
        config: A resolved config of the regime ``finetune``.
        encoders: Config section of each side's encoder, its checkpoint ready for use.
        seed: Of the projections' initial weights.

    Raises:
        UserError: A checkpoint cannot be used, or the embeddings of the two sides have different widths.
    """

    def __init__(self, config: dict[str, Any], encoders: Mapping[str, Mapping[str, Any]], seed: int) -> None:
        super().__init__()
        section, model = config["finetune"], config.get("model", {})
        projection = section.get("projection", "none")
        widths = {}
        for side in SIDES:
            wanted = {
                **encoders[side],
                "level": "pooled",
                "dtype": "float32",
                "attention": None if section["attention"] == "sdpa" else "eager",
            }
            if side == "image":
                wanted["image_size"] = section["image_size"]
            encoder = load(wanted, side)
            if side == "text":
                encoder.find_out_about_masks()  # type: ignore[union-attr]  # of texts
            width = int(encoder.encode(_example(encoder, section["image_size"])).shape[-1])  # type: ignore[union-attr]  # pooled
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream_seed(seed, "init", side))
                projected = projection, width, model.get("hidden"), model.get("dim")
                tower = Tower(encoder, trained_parameters(encoder, section, side), *projected)
            tower.thaw(projections_only=False)
            if section["gradient_checkpointing"] and tower.trained:
                _checkpoint(tower)
            self.add_module(side, tower)
            widths[side] = model.get("dim") if projection != "none" else width
        if widths["image"] != widths["text"]:
            raise bad_input(
                f"the encoders share no space: {widths['image']} and {widths['text']} dimensions",
                key="finetune.projection",
                value=projection,
                allowed=["linear", "mlp"],
            )
        self.dim = widths["image"]
        temperature = config.get("loss", {}).get("temperature")
        self.temperature = temperature if isinstance(temperature, nn.Parameter) else None
        self.norms = section["norms"]

    def learned(self) -> set[str]:
        """Names of what training changes; the rest of the weights is that of the checkpoints."""
        names = {name for name, _ in self.named_parameters()}
        for side in SIDES:
            tower = self.get_submodule(side)
            every = {name for name, _ in tower.backbone.named_parameters()}  # type: ignore[union-attr]  # a module
            names -= {f"{side}.backbone.{name}" for name in every.difference(tower.trained)}  # type: ignore[arg-type]  # names
        return names | ({name for name, _ in self.named_buffers()} if self.norms == "train" else set())

    def set_mode(self, *, training: bool, norms: str, trained: str) -> None:
        """Training or evaluation mode. Frozen backbones, and batch norms with ``norms`` eval, stay in the latter."""
        for side in SIDES:
            tower = getattr(self, side)
            tower.projection.train(training)
            tower.backbone.train(training and trained in (side, "both"))
        if norms == "eval":
            for module in self.modules():
                if isinstance(module, _NORMS):
                    module.eval()


def _example(encoder: ImageEncoder | TextEncoder, size: int | None) -> Any:
    from PIL import Image

    if not isinstance(encoder, ImageEncoder):
        return ["a"]
    side = size or encoder.own_size()
    return encoder.prepare(Image.new("RGB", (side, side), (128, 128, 128)))[None]


def _checkpoint(tower: Tower) -> None:
    if not getattr(tower.backbone, "supports_gradient_checkpointing", False):
        raise bad_input(
            f"{type(tower.backbone).__name__} cannot do it",
            key="finetune.gradient_checkpointing",
            value=True,
            allowed=[False],
            hint="finetune.chunk saves memory with any encoder",
        )
    tower.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
