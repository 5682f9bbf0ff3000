"""Choosing what the captions of a split claim, so that the share of extra positives is the one asked for.

Most captions say what tells their scene from others. In a few situations captions say what the situation's
scenes share instead: all those captions match all those scenes. One after the other is changed until the
extra matches of the split add up to the target, so the prevalence is met up to one caption. At 0 no caption
matches a second scene.
"""

from __future__ import annotations

import math

import numpy as np

from fne.scenes.captions import FULL, draw_form, draw_partial_form, draw_shared_form
from fne.scenes.draw import Chooser
from fne.scenes.logic import Form
from fne.scenes.relevance import count_matches, relevant_pairs
from fne.scenes.situations import SHARES, Situation
from fne.scenes.world import Scenes
from fne.utils.errors import bad_input

BLOCK = 1000
"""A caption tells its scene apart from the others of its block of this many: in a split of any size
captions then have the length and detail that a gallery of 1,000 asks for, and in a large split a few match
a scene of another block."""
TRIES = 3
"""Attempts to tell a scene apart at one level of detail before more is said."""
SHARED = 0.9
"""Share of a chosen situation's captions that say what its scenes share (the rest tells its scene apart)."""
PARTIAL = 0.25
"""Share of those that add one thing about their own scene, and match only some of the situation's scenes."""
YIELD = 0.75
"""Extra matches of a chosen situation as a share of all its pairs: SHARED less what partial captions and
near misses cost (measured; it only decides which situations are chosen)."""
CHOSEN = 5
"""About how many situations carry the extra positives, whatever the target: fewer and more frequent ones
would make their queries hopeless, more and rarer ones would make a query in every situation ambiguous."""


def order_situations(prevalence: float) -> list[int]:
    """Situations in the order in which they are captioned by what they share, for a target prevalence.

    A situation with a share ``w`` of the scenes adds about ``YIELD w^2``; those first whose share is
    nearest, as a ratio, to the one at which :data:`CHOSEN` equal situations meet the target.
    """
    wanted = math.sqrt(prevalence / (CHOSEN * YIELD))
    return sorted(range(len(SHARES)), key=lambda index: abs(math.log(SHARES[index] / wanted)))


def draw_split_forms(
    scenes: Scenes,
    members: np.ndarray,
    situations: list[Situation],
    per_image: int,
    prevalence: float,
    choose: Chooser,
    split: str,
) -> list[Form]:
    """Draw the forms of all captions of a split.

    Args:
        scenes: The n scenes of the split, all different, in random order.
        members: int (n,), the situation of each.
        situations: All situations.
        per_image: Captions per image.
        prevalence: Target share of (image, caption) pairs, other than an image with its own, that are
            relevant.
        choose: The stream of forms.
        split: Name of the split, for messages.

    Returns:
        ``n * per_image`` forms in image order.

    Raises:
        UserError: The split is too small for the target.
    """
    n = len(scenes)
    target = round(prevalence * n * per_image * (n - 1))
    block = BLOCK
    while True:
        forms = _tell_apart(scenes, per_image, block, choose)
        extra = count_matches(scenes, forms) - 1
        # No target, or a low one in a large split: what matches across blocks exceeds it, so say more.
        if extra.sum() <= target / 2 or block >= n:
            break
        block *= 4
    missing = target - int(extra.sum())
    for index in order_situations(prevalence) if target else []:
        drawn = _shared_captions(scenes, np.flatnonzero(members == index), situations[index], per_image, choose)
        if not drawn:
            continue
        slots = [slot for slot, _ in drawn]
        gain = np.cumsum(count_matches(scenes, [form for _, form in drawn]) - 1 - extra[slots])
        over = gain > missing
        taken = int(over.argmax()) if over.any() else len(drawn)
        for slot, form in drawn[:taken]:
            forms[slot] = form
        missing -= int(gain[taken - 1]) if taken else 0
        if over.any():
            break
    # What one more caption would overshoot is left; more than that means that no situation was left to
    # caption.
    if missing > max(0.1 * target, SHARES[0] * n):
        reached = prevalence * (1 - missing / target)
        problem, allowed = f"the {split} split holds too few similar scenes", f"at most {reached:.2g} with {n} images"
        raise bad_input(problem, key="data.prevalence", value=prevalence, allowed=allowed)
    return forms


def _tell_apart(scenes: Scenes, per_image: int, block: int, choose: Chooser) -> list[Form]:
    """Forms true of no other scene of their block, each in as little detail as that takes."""
    forms: list[Form] = []
    for start in range(0, len(scenes), block):
        part = scenes.take(slice(start, start + block))
        found: dict[int, Form] = {}
        row_of = [row for row in range(len(part)) for _ in range(per_image)]
        slots = list(range(len(row_of)))
        # At the last step forms are full descriptions, which are true of one scene only.
        for step in range(TRIES * FULL + 1):
            drawn = [draw_form(part[row_of[slot]], step // TRIES, choose) for slot in slots]
            alone = (count_matches(part, drawn) == 1).tolist()
            found |= {slot: form for slot, form, good in zip(slots, drawn, alone, strict=True) if good}
            slots = [slot for slot, good in zip(slots, alone, strict=True) if not good]
        forms += [found[slot] for slot in range(len(row_of))]
    return forms


def _shared_captions(
    scenes: Scenes, rows: np.ndarray, situation: Situation, per_image: int, choose: Chooser
) -> list[tuple[int, Form]]:
    """Caption slots of a situation in random order, with forms that say what its scenes share."""
    fitting = rows[relevant_pairs(scenes.take(rows), [situation.form])[:, 0]].tolist()
    slots = [row * per_image + number for row in fitting for number in range(per_image)]
    drawn = []
    for slot in choose.shuffled(slots)[: round(SHARED * len(slots))]:
        if choose.chance(PARTIAL):
            drawn.append((slot, draw_partial_form(situation, scenes[slot // per_image], choose)))
        else:
            drawn.append((slot, draw_shared_form(situation, choose)))
    return drawn
