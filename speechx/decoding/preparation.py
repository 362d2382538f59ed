"""What is done to references and hypotheses before they are compared: one rule for both sides."""

from collections.abc import Iterable, Sequence

from speechx.data.utterance import Utterance
from speechx.decoding.scoring import characters, words
from speechx.text.ipa import normalize_ipa
from speechx.text.languages import language_code
from speechx.text.normalize import normalize
from speechx.text.vocabulary import TokenType

PREPARED: dict[TokenType, str] = {
    "characters": "references and hypotheses by speechx.text.normalize (NFC, lower case of the "
    "language, punctuation and symbols to spaces, one spelling of apostrophes and other signs "
    "inside words, digits as they are, single spaces)",
    "phonemes": "references and hypotheses in one spelling of IPA (speechx.text.ipa)",
    "languages": "references and hypotheses as one code for each language (speechx.text.languages)",
}
"""The rule in words, which is a part of every policy."""


def prepare(tokens: Sequence[str], token_type: TokenType, language: str) -> list[str]:
    """Tokens of either side as they are compared: characters normalised; phones in one spelling of
    IPA, so that g and ɡ are equal; languages by one code."""
    match token_type:
        case "phonemes":
            return [phone for token in tokens if (phone := normalize_ipa(token))]
        case "characters":
            return characters(normalize("".join(tokens), language))
        case "languages":
            return [language_code(token) for token in tokens]


def words_of(tokens: Sequence[str]) -> list[str]:
    """The words of prepared characters."""
    return words("".join(tokens))


def policy_of(token_type: TokenType, utterances: Iterable[Utterance]) -> str:
    """What was done to the two sides, with every policy that the texts went through before."""
    policies = sorted({str(u.extra.get("text_policy") or "") for u in utterances})
    if policies in ([], [""]):
        return PREPARED[token_type]
    named = " and ".join(f"by the policy `{p}`" if p else "without a policy" for p in policies)
    return f"{PREPARED[token_type]}; texts of the references {named}"
