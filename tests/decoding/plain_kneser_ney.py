"""Chen and Goodman's formulas, written down with dictionaries: what the fast code must equal."""

from __future__ import annotations

from collections import Counter, defaultdict

from speechx.decoding.ngram import BEGIN, END, UNKNOWN


class PlainKneserNey:
    def __init__(self, sentences, order, prune=(0,), fallback=(0.5, 1.0, 1.5)):
        self.raw = Counter()
        words = set()
        for sentence in sentences:
            whole = (BEGIN, *sentence, END)
            words.update(whole)
            for n in range(1, order + 1):
                self.raw.update(whole[i : i + n] for i in range(len(whole) - n + 1))
        self.words = sorted((words | {UNKNOWN}) - {BEGIN})
        self.order = max(len(gram) for gram in self.raw)
        before = defaultdict(set)
        for gram in self.raw:
            before[gram[1:]].add(gram[0])
        self.adjusted = {}
        for gram, count in self.raw.items():
            if gram == (BEGIN,):
                continue
            whole = len(gram) == self.order or gram[0] == BEGIN
            self.adjusted[gram] = count if whole else len(before[gram])
        self.discounts = {n: self.discount(n, fallback) for n in range(1, self.order + 1)}
        self.limits = [*prune, *[prune[-1]] * order]
        self.followers = defaultdict(dict)
        for gram, count in self.adjusted.items():
            self.followers[gram[:-1]][gram[-1]] = count

    def discount(self, n, fallback):
        times = Counter(a for gram, a in self.adjusted.items() if len(gram) == n)
        t1, t2, t3, t4 = (times[k] for k in (1, 2, 3, 4))
        if t1 and t2 and t3:
            y = t1 / (t1 + 2 * t2)
            found = (1 - 2 * y * t2 / t1, 2 - 3 * y * t3 / t2, 3 - 4 * y * t4 / t3)
            if all(0 <= d <= k for k, d in enumerate(found, 1)):
                return found
        return fallback

    def lost(self, gram):
        count = self.adjusted[gram]
        if len(gram) > 1 and self.raw[gram] <= self.limits[len(gram) - 1]:
            return count
        return self.discounts[len(gram)][min(count, 3) - 1]

    def probability(self, context, word):
        """p(word | context), interpolated down to the uniform distribution."""
        context = tuple(context)[-(self.order - 1) :] if self.order > 1 else ()
        lower = self.probability(context[1:], word) if context else 1 / len(self.words)
        followers = self.followers.get(context)
        if not followers:
            return lower
        total = sum(followers.values())
        share = sum(self.lost((*context, each)) for each in followers) / total
        own = 0.0
        if word in followers:
            gram = (*context, word)
            own = (self.adjusted[gram] - self.lost(gram)) / total
        return own + share * lower
