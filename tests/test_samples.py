"""Samples with probabilities that are still to be computed: nothing is read for them."""

from __future__ import annotations

import pytest

import jtorch
from jtorch.debug import counters

from .both import Table, check

table = Table()


@table
def categories(torch):
    torch.manual_seed(0)
    weights = torch.rand(3, 7, dtype=torch.float64) + 0.01
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        w = (weights * 2).to(dtype)
        yield from (torch.multinomial(w, k, replacement) for k, replacement in ((1, False), (1, True), (4, False)))
        yield torch.multinomial(w.T, 2)
    yield torch.rand(2)


@table
def zeros_and_ones(torch):
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        p = torch.rand(6, 40).to(dtype) * 0.5
        yield from (torch.bernoulli(p), torch.bernoulli(p.T), torch.zeros(6, 40).T.bernoulli_(p.T))
        yield torch.zeros(3, 40, dtype=torch.int64).bernoulli_(p[0])
    yield torch.rand(2)


@table
def of_distributions(torch):
    torch.manual_seed(0)
    logits = torch.randn(4, 6) * 2
    for kind in (torch.distributions.Categorical, torch.distributions.Bernoulli):
        yield kind(logits=logits).sample()
        yield kind(logits=logits).sample((3,))


@pytest.mark.parametrize("name", table)
def test_samples(name):
    check(lambda torch: [t.tolist() for t in table[name](torch)])


@pytest.mark.parametrize(
    "draw",
    [lambda p: jtorch.multinomial(p, 1), lambda p: jtorch.multinomial(p, 2), jtorch.bernoulli],
    ids=["one", "two", "bits"],
)
def test_nothing_is_read(draw):
    p = jtorch.full((2, 3), 0.25)

    @jtorch.compile(fullgraph=True)
    def sampled():
        return draw(p * 2) + 0

    results = [sampled().tolist() for _ in range(30)]
    assert len({str(r) for r in results}) > 1  # drawn anew at each call


@pytest.mark.parametrize("draw", [lambda p: jtorch.multinomial(p, 1), jtorch.bernoulli], ids=["categories", "bits"])
def test_a_loop_that_reads_nothing_is_a_program_a_round(draw):
    p = jtorch.full((2, 2), 0.25)
    before = counters()["flushes"]
    for _ in range(5):
        p = (draw(p * 2) + p) / 9
    assert counters()["flushes"] - before == 5


def test_probabilities_at_hand_end_no_program():
    p, x = jtorch.full((2, 2), 0.25), jtorch.ones(2, 2)
    jtorch.sync()
    before = counters()["flushes"]
    y = (x + 1) * jtorch.bernoulli(p)
    assert counters()["flushes"] == before and y.shape == (2, 2)


def test_sampled_decoding_is_one_program():
    def tokens(compiled):
        jtorch.manual_seed(0)
        model = jtorch.nn.Sequential(jtorch.nn.Embedding(5, 8), jtorch.nn.Linear(8, 5))

        def step(token):
            with jtorch.no_grad():
                return jtorch.multinomial(model(token).softmax(-1), 1).squeeze(-1)

        run = jtorch.compile(step, fullgraph=True) if compiled else step
        token, made = jtorch.zeros(4, dtype=jtorch.int64), []
        for _ in range(8):
            token = run(token)
            made.append(token.tolist())
        return made

    assert tokens(True) == tokens(False)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), 0.0])
def test_bad_weights(weight):
    """Of weights at hand where they are given, of others where the sample is read."""
    weights = jtorch.tensor([weight, 0.0])
    message = "sum of probabilities <= 0" if weight == 0 else "either `inf`, `nan` or element < 0"
    with pytest.raises(RuntimeError, match=message):
        jtorch.multinomial(weights, 1)
    sample = jtorch.multinomial(weights * 2, 1)
    with pytest.raises(RuntimeError, match=message):
        sample.tolist()


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_bad_probabilities(p):
    with pytest.raises(RuntimeError, match="p_in >= 0 && p_in <= 1"):
        jtorch.bernoulli(jtorch.tensor([p]))
    sample = jtorch.bernoulli(jtorch.tensor([p]) * 1)
    with pytest.raises(RuntimeError, match="p_in >= 0 && p_in <= 1"):
        sample.tolist()
