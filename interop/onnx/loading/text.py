"""Tensors of strings, which live on the host as object arrays."""

from __future__ import annotations

import re

import numpy as np

from .registry import handles


def _text(values, shape) -> np.ndarray:
    out = np.empty(int(np.prod(shape, dtype=int)), object)
    out[:] = list(values)
    return out.reshape(shape)


@handles("StringConcat", host="all")
def string_concat(n, a, b):
    a, b = np.broadcast_arrays(a, b)
    return _text((str(x) + str(y) for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)), a.shape)


@handles("StringNormalizer", host="all")
def string_normalizer(n, x):
    words = [str(w) for w in x.reshape(-1)]
    stop = [w.decode() if isinstance(w, bytes) else w for w in n.get("stopwords") or []]
    if n.get("is_case_sensitive", 0):
        words = [w for w in words if w not in stop]
    else:
        lowered = {w.lower() for w in stop}
        words = [w for w in words if w.lower() not in lowered]
    change = {"LOWER": str.lower, "UPPER": str.upper}.get(n.get("case_change_action", "NONE"), str)
    words = [change(w) for w in words] or [""]
    return _text(words, (len(words),) if x.ndim == 1 else (1, len(words)))


@handles("StringSplit", host="all")
def string_split(n, x):
    separator, most = n.get("delimiter") or None, n.get("maxsplit", -1)
    parts = [str(s).split(separator, -1 if most is None else most) if s else [] for s in x.reshape(-1)]
    width = max((len(p) for p in parts), default=0)
    flat = [w for p in parts for w in (*p, *[""] * (width - len(p)))]
    return _text(flat, (*x.shape, width)), np.array([len(p) for p in parts], np.int64).reshape(x.shape)


@handles("RegexFullMatch", host="all")
def regex_full_match(n, x):
    pattern = re.compile(n.get("pattern"))
    return np.array([pattern.fullmatch(str(s)) is not None for s in x.reshape(-1)], bool).reshape(x.shape)


@handles("TfIdfVectorizer", host=(0,))
def tf_idf(n, x):
    mode, most, least, skips = (
        n.get("mode"),
        n.get("max_gram_length"),
        n.get("min_gram_length"),
        n.get("max_skip_count"),
    )
    starts, columns = n.get("ngram_counts"), n.get("ngram_indexes")
    words = n.get("pool_int64s") or [w.decode() if isinstance(w, bytes) else w for w in n.get("pool_strings")]
    weights = n.get("weights")
    grams, k = {}, 0
    for length, (a, b) in enumerate(zip(starts, [*starts[1:], len(words)], strict=True), start=1):
        for i in range(a, b, length):
            grams[tuple(words[i : i + length])] = k
            k += 1
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    out = np.zeros((rows.shape[0], max(columns) + 1), np.float32)
    for r, row in enumerate(rows.tolist()):
        for length in range(least, most + 1):
            for skip in range(skips + 1):
                if length == 1 and skip:
                    break
                reach = (length - 1) * (skip + 1) + 1
                for i in range(len(row) - reach + 1):
                    found = grams.get(tuple(row[i : i + reach : skip + 1]))
                    if found is not None:
                        out[r, columns[found]] += 1
    scale = np.ones(out.shape[1], np.float32)
    if weights:
        for g, column in enumerate(columns):
            scale[column] = weights[g]
    if mode == "IDF":
        out = (out > 0) * scale
    elif mode == "TFIDF":
        out = out * scale
    return np.asarray(out, np.float32).reshape(out.shape[1:] if x.ndim == 1 else out.shape)
