"""The list of losses: name, class, and the options of ``loss`` that each one reads (torch-free)."""

from __future__ import annotations

from fne.negatives.registry import Entry

LOSSES: dict[str, Entry] = {
    "triplet": Entry(
        target="fne.losses.triplet:TripletLoss",
        options=("margin",),
        summary="hinge on the difference between a negative's similarity and the positive's",
        negatives=("one", "all"),
    ),
    "infonce": Entry(
        target="fne.losses.infonce:InfoNCELoss",
        options=("temperature", "multi_positive"),
        summary="softmax cross-entropy of the positive against every negative",
        negatives=("all", "attracted"),
    ),
    "albef_distill": Entry(
        target="fne.losses.albef_distill:ALBEFDistillationLoss",
        options=("temperature", "distillation"),
        summary="InfoNCE whose target is partly what the momentum encoder would say",
        negatives=("all",),
        needs=("teacher",),
    ),
    "dcl": Entry(
        target="fne.losses.dcl:DebiasedContrastiveLoss",
        options=("temperature", "positive_prior"),
        summary="InfoNCE less the false negatives that a known share of candidates must be",
        negatives=("all",),
    ),
    "hcl": Entry(
        target="fne.losses.hcl:HardContrastiveLoss",
        options=("temperature", "positive_prior", "hardness"),
        summary="debiased InfoNCE with negatives weighted by their own similarity",
        negatives=("all",),
    ),
    "bcl": Entry(
        target="fne.losses.bcl:BayesianContrastiveLoss",
        options=("temperature", "positive_prior", "location", "concentration"),
        summary="InfoNCE with negatives weighted by how likely their rank is for a hard true negative",
        negatives=("all",),
        estimates="probability",
    ),
    "pcmepp_pseudo": Entry(
        target="fne.losses.pcmepp_pseudo:PseudoPositiveLoss",
        options=("temperature", "shift", "pseudo_weight"),
        summary="binary cross-entropy in which negatives above the positive are partly matches",
        negatives=("all",),
    ),
    "selhn": Entry(
        target="fne.losses.selhn:SelHNLoss",
        options=("margin", "epsilon"),
        summary="hinge on the hardest negative, or on all where its gradient would vanish",
        negatives=("all",),
    ),
    "sct": Entry(
        target="fne.losses.sct:SelectivelyContrastiveTripletLoss",
        options=("temperature", "hard_similarity", "hard_weight"),
        summary="two-way softmax, or the negative's similarity alone where it is too hard",
    ),
}
