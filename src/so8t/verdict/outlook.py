"""What an undecided result would have needed: questions, and whether its margin is in reach.

Normal approximations, as in `power`: they plan, they never decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import special

if TYPE_CHECKING:
    from so8t.verdict.decide import Verdict

#: The power that is planned for.
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Outlook:
    """What more questions like these would do.

    Attributes:
        needed: questions in all to find a difference of the size seen, with 80 % power; None where
            none was seen.
        more: how many of them are not there yet; 0 where there are enough.
        margin_needed: questions in all to show equivalence within the margin, were there no
            difference, with 80 % power; None without a margin.
        margin_in_reach: whether the questions planned are as many; None without a margin.
        smallest_margin: within which the questions planned show equivalence with 80 % power.

    """

    needed: int | None
    more: int | None
    margin_needed: int | None
    margin_in_reach: bool | None
    smallest_margin: float


def outlook(verdict: Verdict) -> Outlook | None:
    """Say what it would take to decide; None where nothing is known of the spread.

    For the direction, Connor (1987), Biometrics 43, with the spread seen in place of the
    discordance; for the margin, Liu, Hsueh, Hsieh and Chen (2002), Statistics in Medicine 21.
    """
    spread, difference = verdict.spread, verdict.difference
    if not spread or difference is None:
        return None
    alpha, margin = verdict.settings.alpha, verdict.settings.margin
    scale = float(-special.ndtri(alpha) - special.ndtri((1.0 - POWER) / 2.0)) * spread
    needed = more = None
    if difference:
        # Under no difference the spread is taken about zero, under the one seen about it.
        noise = -float(special.ndtri(alpha / 2.0)) * math.hypot(spread, difference)
        noise += float(special.ndtri(POWER)) * spread
        needed = math.ceil((noise / difference) ** 2)
        more = max(0, needed - verdict.items_used)
    margin_needed = None if margin is None else math.ceil((scale / margin) ** 2)
    return Outlook(
        needed=needed,
        more=more,
        margin_needed=margin_needed,
        margin_in_reach=None if margin_needed is None else margin_needed <= verdict.items_total,
        smallest_margin=scale / math.sqrt(verdict.items_total),
    )
