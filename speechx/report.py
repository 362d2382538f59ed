"""`speechx report`: many evaluations, one table, one JSON file.

    speechx report seen_per=seen.json scratch_per=a.json,b.json,c.json unseen.pt=pt.json \\
        seconds=123 seed=1 -o results.json

KEY=VALUE, where a dotted key nests. A value is

- a number, kept as it is;
- a file that `speechx evaluate` wrote: its overall rate, a fraction; of a zero-shot evaluation, the
  rate of each method;
- layers.json of `speechx analyze layers`: the accuracy of each probe at its best layer;
- several files, joined by commas: their mean, and the single values beside it as KEY_runs.

Rates of one metric (and method) are compared, so their policies must be equal. The commit of the
working directory is added, so that a table can be traced.
"""

import json
import math
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from speechx.errors import UserError
from speechx.text_table import text_table
from speechx.whole_file import write_whole

BEST = "best "  # before the name of a probe

Rates: TypeAlias = dict[str, float]  # of one evaluation: by method, or the overall one as ""


@dataclass(frozen=True, slots=True)
class StatedPolicy:
    """The policy of a rate, and the file that has it."""

    path: Path
    policy: str


Policies: TypeAlias = dict[tuple[str, str], StatedPolicy]  # by metric and method


def report(pairs: Sequence[str], out: Path) -> tuple[dict[str, Any], str]:
    """Collects KEY=VALUE pairs, writes them to `out` as JSON; returns them, and as a table."""
    results: dict[str, Any] = {}
    rates: dict[str, list[Rates]] = {}
    facts: dict[str, str] = {}
    policies: Policies = {}
    for pair in pairs:
        key, value = _split(pair)
        number = _number(value)
        if number is not None:
            _put(results, key, number)
            facts[key] = value
            continue
        of_key: Policies = {}
        runs = rates[key] = [_read(Path(name), policies, of_key) for name in value.split(",")]
        _put(results, key, _plain(_mean(key, runs)))
        if len(runs) > 1:
            _put(results, f"{key}_runs", list(map(_plain, runs)))
    _put(results, "commit", _commit())
    facts["commit"] = results["commit"] or "unknown (not a git repository)"
    write_whole(out, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return results, _table(rates, facts)


def _split(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not (equals and value and all(key.split("."))):
        raise UserError(
            f"{pair!r} is not KEY=VALUE, such as seen_per=runs/tiny/seen.json or seed=1."
        )
    return key, value


def _number(text: str) -> int | float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else number


def _read(path: Path, policies: Policies, of_key: Policies) -> Rates:
    """The rates of a file, whose policies must be those of the files before it: of all with the
    same metric, and of all for the same key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "probes" in content:
            probes = content["probes"].items()
            return {f"{BEST}{name}": float(max(each["accuracy"])) for name, each in probes}
        methods = content.get("methods", {"": content})
        rates = {name: float(each["overall"]["rate"]) for name, each in methods.items()}
        stated = {
            (str(each.get("metric", "")), name): StatedPolicy(path, str(each.get("policy", "")))
            for name, each in methods.items()
        }
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. A value is a number or files of `speechx evaluate`."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a result of `speechx evaluate`: no overall.rate and no methods in it."
        ) from error
    for key, own in stated.items():
        require_same_policy(policies.setdefault(key, own), own)
        require_same_policy(of_key.setdefault(("", key[1]), own), own)
    return rates


def require_same_policy(one: StatedPolicy, other: StatedPolicy) -> None:
    """UserError, with the differences, for rates of different policies. How an interval was drawn
    does not count."""
    parts, others = (
        [part for part in each.policy.split("; ") if not part.startswith("interval: ")]
        for each in (one, other)
    )
    if parts == others:
        return
    only = [
        "; ".join(part for part in mine if part not in theirs) or "no policy"
        for mine, theirs in ((parts, others), (others, parts))
    ]
    raise UserError(
        f"{one.path} and {other.path} were scored by different policies, so they are not compared: "
        f"{only[0]!r} and {only[1]!r}. Score both by one policy, or report them apart."
    )


def _mean(key: str, runs: list[Rates]) -> Rates:
    if any(run.keys() != runs[0].keys() for run in runs):
        raise UserError(
            f"{key}: its files were not evaluated by the same methods; give them apart."
        )
    return {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}


def _plain(rates: Rates) -> float | Rates:
    """As the JSON file has them."""
    return rates.get("", rates)


def _put(results: dict[str, Any], key: str, value: Any) -> None:
    """Set results["a"]["b"] for the key a.b; a key is given once."""
    *parents, last = key.split(".")
    place = results
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"{key}: {parent} already has a value of its own.")
    if last in place:
        raise UserError(f"{key} is given twice (commit and KEY_runs are filled in by the report).")
    place[last] = value


def _commit() -> str | None:
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _table(rates: dict[str, list[Rates]], facts: dict[str, str]) -> str:
    """A row per key: plain rates, then a column per method with a mean row, then the numbers."""
    rows: list[list[str]] = []
    zero_shot: dict[tuple[str, tuple[str, ...]], dict[str, list[Rates]]] = {}
    for key, runs in rates.items():
        if "" in runs[0]:
            rows.append([key, _percent([run[""] for run in runs])])
        else:
            family = (key.rpartition(".")[0], tuple(runs[0]))
            zero_shot.setdefault(family, {})[key] = runs
    for (parent, names), group in zero_shot.items():
        rows.append(["", *names])
        for key, runs in group.items():
            rows.append([key, *(_percent([run[name] for run in runs]) for name in names)])
        if len(group) > 1 and not names[0].startswith(BEST):  # of models, not of languages
            means = _means(parent, list(group.values()))
            rows.append(
                [f"mean of {parent}".strip(), *(_percent([m[x] for m in means]) for x in names)]
            )
    facts_rows = [[key, value] for key, value in facts.items()]
    tables = [some for some in (rows, facts_rows) if some]
    return "\n".join(text_table(some, left=range(max(map(len, some)))) for some in tables)


def _means(parent: str, languages: list[list[Rates]]) -> list[Rates]:
    """Over the languages: one for each run (seed), or only one if languages differ in runs."""
    if len({len(runs) for runs in languages}) > 1:
        languages = [[_mean(parent, runs)] for runs in languages]
    return [_mean(parent, list(run)) for run in zip(*languages, strict=True)]


def _percent(values: list[float]) -> str:
    text = f"{100 * statistics.fmean(values):.1f}"
    if len(values) == 1:
        return f"{text} %"
    return f"{text} ± {100 * statistics.stdev(values):.1f} % (n={len(values)})"
