"""What is taken from an encoder: tokens, their mean, the class token, its pooler, or its own projected embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch

JOINT = "joint"
"""The embedding that the model itself compares, its own projection included."""
POOLINGS = ("mean", "cls", "pooler", "mean_all", JOINT)


def image_tokens(hidden: torch.Tensor, grid: int) -> tuple[torch.Tensor, int]:
    """Separate the region tokens of an image from the special ones before them (class token, registers).

    Args:
        hidden: Last hidden state: (B, T, D) of a transformer or (B, C, H, W) of a convolutional network.
        grid: Number of patches of the input, H W / p^2; 0 if the model does not cut patches.

    Returns:
        Region tokens (B, T', D) and the number of special tokens dropped in front of them. A hierarchical
        transformer has fewer tokens than patches: all of them are regions.
    """
    if hidden.ndim == 4:
        return hidden.flatten(2).transpose(1, 2), 0
    special = hidden.shape[1] - grid if 0 < grid <= hidden.shape[1] else 0
    return hidden[:, special:], special


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens that are there, ``sum_t m_t x_t / sum_t m_t``: independent of how far a batch is padded.

    Args:
        tokens: (B, T, D).
        mask: (B, T), 1 where there is a token.

    Returns:
        (B, D).
    """
    weights = mask.to(tokens.dtype)[..., None]
    return (tokens * weights).sum(1) / weights.sum(1)


def pooled(
    output: Any, kind: str, special: int | None, tokens: torch.Tensor, mask: torch.Tensor | None, where: str
) -> torch.Tensor:
    """One vector per item.

    Args:
        output: What the model returned (``last_hidden_state``, ``pooler_output``).
        kind: ``"mean"`` of ``tokens`` (under ``mask``), ``"cls"`` the first position, ``"pooler"``, or ``"mean_all"``
            over every position, special ones and padding too, as FNE was released.
        special: Number of special tokens in front of the regions of an image; None for text.
        tokens: (B, T, D) the tokens to average.
        mask: (B, T) for text; None for images.
        where: What to call the encoder in an error.

    Returns:
        (B, D).

    Raises:
        UserError: The model has no class token, or no pooler.
    """
    if kind == "mean":
        return tokens.mean(1) if mask is None else masked_mean(tokens, mask)
    if kind == "mean_all":
        hidden = output.last_hidden_state
        return (hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden).mean(1)
    if kind == "cls":
        if special == 0:
            others = ["mean", "pooler"]
            raise bad_input("the encoder has no class token", file=where, key="pooling", value=kind, allowed=others)
        return output.last_hidden_state[:, 0]
    vector = getattr(output, "pooler_output", None)
    if vector is None:
        raise bad_input("the encoder has no pooler", file=where, key="pooling", value=kind, allowed=["mean", "cls"])
    return vector.flatten(1)  # convolutional networks keep a 1 x 1 map
