"""How sure a median is."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, from the values' order alone; all of them when they are
    too few (below 6) to say so much."""
    ordered, n = sorted(values), len(values)
    left = 0
    chance = 0.0
    for rank in range(n // 2):
        chance += comb(n, rank) / 2**n
        if chance > 0.025:
            break
        left = rank
    return ordered[left], ordered[n - 1 - left]
