"""From which phone of another head a new phone starts: its nearest one, by articulatory features.

Whistle (Yusuyin et al. 2024) copies the rows of equal phones to a new language, and
starts the others from random weights; a near phone is a better guess.
"""

from collections.abc import Sequence

from speechx.decoding.mapping import nearest_of
from speechx.log import logger
from speechx.text.articulation import problem_without_features


def nearest_phones(new: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """For each new phone the nearest known one, by Hamming distance; ties as in a mapping. Phones
    without features are left out. Logs all of them."""
    candidates = [phone for phone in known if not problem_without_features(phone)]
    able = [phone for phone in new if candidates and not problem_without_features(phone)]
    found = {row.source: row for row in nearest_of(able, candidates)}
    if found:
        pairs = ", ".join(f"{p} from {row.target} ({row.distance:.2f})" for p, row in found.items())
        logger.info(f"{len(found)} new phones start from the nearest phone: {pairs}")
    if lost := [phone for phone in new if phone not in found]:
        logger.info(f"{len(lost)} new phones start from random weights: {' '.join(lost)}")
    return {phone: row.target for phone, row in found.items()}
