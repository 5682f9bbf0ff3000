"""What of an encoder is trained: all of it, its last blocks, its own projections, or adapters beside its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fne.encoders.checkpoints import check_lora
from fne.encoders.encoder import Encoder
from fne.utils.errors import bad_input


def own_projections(encoder: Encoder) -> list[nn.Parameter]:
    """The parameters of a checkpoint's own projections, where its feature is their result; else none."""
    if encoder.pooling != "joint":
        return []
    modules = encoder.family.projections(encoder.model, encoder.modality)
    return list({id(p): p for module in modules for p in module.parameters()}.values())


def trained_parameters(encoder: Encoder, section: dict[str, Any], side: str) -> list[nn.Parameter]:
    """The parameters of an encoder that are trained; adapters are put into its model first.

    Args:
        encoder: The encoder, its model in memory; torch's generator draws the adapters' first weights.
        section: Section ``finetune`` of a resolved config.
        side: ``"image"`` or ``"text"``.

    Raises:
        UserError: The encoder has no such part.
    """
    part = section.get("part", "whole")
    if section["trained"] not in (side, "both"):
        return []
    if part == "projections":
        if not (result := own_projections(encoder)):
            problem = "the encoder has no projection of its own"
            raise bad_input(
                problem, file=encoder.where, key="finetune.part", value=part, allowed=["whole", "blocks", "lora"]
            )
        return result
    if part == "blocks":
        return _last_blocks(encoder, section["blocks"])
    if part == "lora":
        return _adapters(encoder, section)
    return list(encoder.model.parameters())


def _last_blocks(encoder: Encoder, count: int) -> list[nn.Parameter]:
    """The parameters of the last blocks and of what follows them; the blocks are the longest list of modules."""
    lists = [list(module) for module in encoder.model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=len, default=[])
    if not 1 <= count <= len(blocks):
        allowed = f"1 to {len(blocks)}"
        raise bad_input(
            "so many blocks it has not", file=encoder.where, key="finetune.blocks", value=count, allowed=allowed
        )
    first, parameters = next(blocks[-count].parameters()), list(encoder.model.parameters())
    start = next(at for at, parameter in enumerate(parameters) if parameter is first)
    return parameters[start:]


def _adapters(encoder: Encoder, section: dict[str, Any]) -> list[nn.Parameter]:
    """``W + (alpha / rank) B A`` beside the weights of some linear modules; B begins at 0.

    *Source*: Hu et al., LoRA, ICLR 2022.
    """
    check_lora({encoder.modality: encoder.checkpoint.folder}, section["lora_modules"])
    import peft

    names = [name for name, module in encoder.model.named_modules() if isinstance(module, nn.Linear)]
    targets = [name for name in names if name.rpartition(".")[2] in section["lora_modules"]]
    settings = peft.LoraConfig(r=section["lora_rank"], lora_alpha=section["lora_alpha"], target_modules=targets)
    peft.inject_adapter_in_model(settings, encoder.model)
    return [parameter for name, parameter in encoder.model.named_parameters() if "lora_" in name]


def learned_temperature(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose ``loss.temperature`` is a parameter to be learned, where it is; the loss and the towers share it.

    *Source*: Li et al., ALBEF, NeurIPS 2021, whose temperature is a parameter too, kept within bounds.
    """
    if config["finetune"].get("temperature") != "learned":
        return config
    temperature = nn.Parameter(torch.tensor(config["loss"]["temperature"]))
    return config | {"loss": config["loss"] | {"temperature": temperature}}
