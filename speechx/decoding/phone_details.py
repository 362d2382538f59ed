"""More scores of a phone model: the same outputs under strict and relaxed policies, by articulatory
features, and which classes of phones are confused."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from speechx.decoding.confusions import Confusions, confusions
from speechx.decoding.feature_errors import FeatureScore, feature_score
from speechx.decoding.scoring import Score, Scored, score
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.phone_policies import POLICIES, relaxed
from speechx.text_table import text_table
from speechx.wording import percent, percent_range

SHORT = ("metric", "policy", "overall", "macro", "languages")  # fields of a policy's score in JSON


@dataclass(frozen=True, slots=True)
class PhoneDetails:
    """`per` is by the policies of `speechx.text.phone_policies`; `features` by our own policy and
    `prism`, None without the package panphon."""

    per: dict[str, Score]
    features: FeatureScore | None
    prism: FeatureScore | None
    confusions: Confusions

    def to_dict(self) -> dict[str, Any]:
        """The same, as JSON types."""
        short = {
            name: {key: value for key, value in each.to_dict().items() if key in SHORT}
            for name, each in self.per.items()
        }
        return {
            "policies": short,
            "pfer": self.features and asdict(self.features),
            "prism": self.prism and asdict(self.prism),
            "confusions": self.confusions.to_dict(),
        }

    def table(self) -> str:
        """A row for each policy."""
        rows = [["policy", "rate", "95 % interval", "edits", "tokens", "what counts"]]
        for name, each in self.per.items():
            rate = each.overall
            rows.append(_row(name, rate, str(rate.edits), str(rate.tokens), POLICIES[name]))
        for name, of_features in (("pfer", self.features), ("prism", self.prism)):
            if of_features:
                rate_ = of_features.overall
                what = "feature edit distance / segments"
                what += ", as PRiSM counts" if name == "prism" else ", our phones"
                distance = f"{rate_.distance:.2f}"
                rows.append(_row(name, rate_, distance, str(rate_.segments), what))
        return text_table(rows, left=(0, 5))


def phone_details(
    utterances: Sequence[Scored],
    written: Sequence[Scored] | None = None,
    prepared: str = "as given",
    resamples: int = 1000,
) -> PhoneDetails:
    """`utterances` are prepared as for the phone error rate; `written` are the same before
    preparation, for the policies `exact` and `prism`. `prepared` as in `score`."""
    by_policy: dict[str, Score] = {}
    for policy, what in POLICIES.items():
        some = utterances if written is None or policy != "exact" else written
        compared = [
            replace(
                u, reference=relaxed(u.reference, policy), hypothesis=relaxed(u.hypothesis, policy)
            )
            for u in some
        ]
        how = f"{policy}: {what}; {prepared}"
        try:
            by_policy[policy] = score(compared, "per", prepared=how, resamples=resamples)
        except UserError as error:  # a language of tones only, without tones
            logger.info(f"no phone error rate by the policy {policy}: {error}")
    features = prism = None
    try:
        features = feature_score(utterances, prepared=prepared, resamples=resamples)
        prism = feature_score(written or utterances, "prism", resamples=resamples)
    except UserError as error:
        logger.info(f"no feature error rate: {error}")
    return PhoneDetails(by_policy, features, prism, confusions(utterances))


def prism_scores(conditions: Mapping[str, Sequence[Scored]]) -> dict[str, FeatureScore]:
    """Scores by the policy `prism` under several conditions, from tokens without preparation. None,
    which is logged, if the references have no segments or panphon is not installed."""
    try:
        return {name: feature_score(each, "prism") for name, each in conditions.items()}
    except UserError as error:
        logger.info(f"no feature error rate: {error}")
        return {}


def _row(name: str, rate: Any, errors: str, tokens: str, what: str) -> list[str]:
    interval = percent_range(rate.low, rate.high)
    return [name, percent(rate.rate), interval, errors, tokens, what]
