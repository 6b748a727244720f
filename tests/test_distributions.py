"""Distributions against PyTorch: densities, moments, samples of one seed, gradients, divergences, transforms."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch
from jtorch import distributions as D

torch = pytest.importorskip("torch")
R = torch.distributions

A = np.array
S22 = A([[2.0, 0.3], [0.3, 1.0]])
L22 = A([[1.2, 0.0], [0.4, 0.8]])
P3 = A([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
V = A([0.7, 2.5])  # positive parameters
X = A([0.3, -1.2])  # real ones
U = A([0.3, 0.8])  # probabilities

# family, arguments, samples equal bit for bit (else to rounding: an elementwise function of equal draws)
TABLE = [
    ("Normal", {"loc": X, "scale": V}, False),
    ("Categorical", {"probs": P3}, True),
    ("Categorical", {"logits": np.log(P3) + 1}, True),
    ("Bernoulli", {"probs": U}, True),
    ("Bernoulli", {"logits": X}, True),
    ("Uniform", {"low": X, "high": X + V}, False),
    ("Beta", {"concentration1": V, "concentration0": V[::-1].copy()}, False),
    ("Dirichlet", {"concentration": P3 * 6}, False),
    ("Gamma", {"concentration": V, "rate": U}, False),
    ("Exponential", {"rate": V}, False),
    ("MultivariateNormal", {"loc": X, "covariance_matrix": S22}, False),
    ("MultivariateNormal", {"loc": X, "precision_matrix": S22}, False),
    ("MultivariateNormal", {"loc": X, "scale_tril": L22}, False),
    ("LogNormal", {"loc": X, "scale": U}, False),
    ("OneHotCategorical", {"probs": P3}, True),
    ("OneHotCategoricalStraightThrough", {"probs": P3}, True),
    ("Laplace", {"loc": X, "scale": V}, False),
    ("Poisson", {"rate": A([0.7, 25.0])}, True),
    ("Binomial", {"total_count": 8, "probs": U}, True),
    ("Binomial", {"total_count": 90, "logits": X}, True),
    ("Multinomial", {"total_count": 7, "probs": P3}, True),
    ("Geometric", {"probs": U}, True),
    ("Gumbel", {"loc": X, "scale": V}, False),
    ("HalfNormal", {"scale": V}, True),
    ("HalfCauchy", {"scale": V}, False),
    ("Cauchy", {"loc": X, "scale": V}, False),
    ("Chi2", {"df": V * 3}, False),
    ("StudentT", {"df": V * 3, "loc": X, "scale": U}, False),
    ("FisherSnedecor", {"df1": V * 3, "df2": V + 6}, False),
    ("Kumaraswamy", {"concentration1": V + 1, "concentration0": V + 1}, False),
    ("Pareto", {"scale": V, "alpha": V + 3}, False),
    ("Weibull", {"scale": V, "concentration": V + 1}, False),
    ("VonMises", {"loc": X, "concentration": V}, False),
    ("LogisticNormal", {"loc": X, "scale": U}, False),
    ("RelaxedBernoulli", {"temperature": A(0.7), "probs": U}, False),
    ("RelaxedOneHotCategorical", {"temperature": A(0.7), "probs": P3}, False),
    ("ContinuousBernoulli", {"probs": A([0.3, 0.4995])}, False),
    ("NegativeBinomial", {"total_count": V * 4, "probs": U}, True),
    ("LowRankMultivariateNormal", {"loc": X, "cov_factor": A([[0.5], [-1.0]]), "cov_diag": U}, False),
    ("LKJCholesky", {"dim": 3, "concentration": A([0.7, 2.0])}, False),
    ("Wishart", {"df": A(4.5), "covariance_matrix": S22}, False),
    ("InverseGamma", {"concentration": V + 3, "rate": U}, False),
    ("GeneralizedPareto", {"loc": X, "scale": V, "concentration": A([0.2, -0.3])}, False),
]
IDS = [f"{name}-{'-'.join(args)}" for name, args, _ in TABLE]


def tensors(args, lib, grad=False, dtype=np.float64):
    def one(v):
        return lib.tensor(v.astype(dtype), requires_grad=grad) if isinstance(v, np.ndarray) else v

    return {k: one(v) for k, v in args.items()}


def make(name, args, grad=False, dtype=np.float64):
    return tuple(
        (getattr(lib.distributions, name)(**given), given)
        for lib in (jtorch, torch)
        for given in [tensors(args, lib, grad, dtype)]
    )


def host(t):
    return t.detach().numpy()


def same(ours, theirs, rtol=1e-7, atol=1e-9):
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
    np.testing.assert_allclose(host(ours), host(theirs), rtol=rtol, atol=atol)


#: PyTorch fits VonMises' Bessel functions by polynomials, good to about 1e-7; takes log n! in float32 for Multinomial's
#: entropy; and its GeneralizedPareto works in float32 only, so that is compared in float32
RTOL = {"VonMises": 1e-6, "Multinomial": 1e-6, "GeneralizedPareto": 1e-5}


@pytest.mark.filterwarnings("ignore:Singular sample")  # PyTorch's Wishart warns on good samples
@pytest.mark.parametrize("name,args,exact", TABLE, ids=IDS)
def test_family(name, args, exact):
    dtype = np.float32 if name == "GeneralizedPareto" else np.float64
    (ours, _), (theirs, _) = make(name, args, dtype=dtype)
    rtol = RTOL.get(name, 1e-7)
    assert repr(ours) == repr(theirs)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    for attribute in ("mean", "variance", "stddev", "mode"):
        try:
            expected = getattr(theirs, attribute)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(ours, attribute)
            continue
        same(getattr(ours, attribute), expected, rtol)
    torch.manual_seed(5)
    value = theirs.sample((3,))
    mine = jtorch.tensor(value.numpy())
    same(ours.log_prob(mine), theirs.log_prob(value), rtol)
    probability = np.full(value.shape, 0.3, dtype)
    for method, theirs_x, ours_x in (
        ("entropy", (), ()),
        ("cdf", (value,), (mine,)),
        ("icdf", (torch.tensor(probability),), (jtorch.tensor(probability),)),
        ("enumerate_support", (), ()),
    ):
        try:
            expected = getattr(theirs, method)(*theirs_x)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(ours, method)(*ours_x)
            continue
        same(getattr(ours, method)(*ours_x), expected, rtol)
    wide = ours.expand((4, *ours.batch_shape))
    assert tuple(wide.batch_shape) == (4, *ours.batch_shape)
    same(wide.log_prob(mine[:1]), theirs.expand((4, *theirs.batch_shape)).log_prob(value[:1]), rtol)


@pytest.mark.filterwarnings("ignore:Singular sample")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name,args,exact", TABLE, ids=IDS)
def test_samples(name, args, exact, dtype):
    (ours, _), (theirs, _) = make(name, args, dtype=dtype)
    jtorch.manual_seed(3)
    torch.manual_seed(3)
    mine, expected = ours.sample((5,)), theirs.sample((5,))
    if exact:
        np.testing.assert_array_equal(host(mine), host(expected))
    # the same draws, then elementwise functions: a few units in the last place, more after cancellation
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    same(mine, expected, tolerance, tolerance)
    np.testing.assert_array_equal(host(jtorch.rand(2)), host(torch.rand(2)))  # equally many numbers were used


#: PyTorch's derivatives of gamma and Dirichlet variates are approximations, good to about 1e-3
APPROXIMATE = ("Gamma", "Beta", "Dirichlet", "Chi2", "StudentT", "FisherSnedecor", "InverseGamma")


# PyTorch's backward fails for Wishart: its second draw is written in place
@pytest.mark.parametrize("name,args", [(n, a) for n, a, _ in TABLE if getattr(R, n).has_rsample and n != "Wishart"])
def test_rsample_gradients(name, args):
    gradients = []
    for (d, given), lib in zip(make(name, args, grad=True), (jtorch, torch), strict=True):
        lib.manual_seed(11)
        x = d.rsample((4,))
        (x * lib.arange(x.numel(), dtype=lib.float64).view(x.shape).cos()).sum().backward()
        gradients.append({k: v.grad for k, v in given.items() if hasattr(v, "grad") and v.grad is not None})
    ours, theirs = gradients
    assert ours.keys() == theirs.keys() and ours
    rtol = 5e-3 if name in APPROXIMATE else 1e-7
    for key, expected in theirs.items():
        same(ours[key], expected, rtol, rtol * float(expected.abs().max() + 1e-2))


def test_gamma_and_dirichlet_gradients_are_exact():
    """Against central differences of SciPy's inverse distribution functions at fixed probability."""
    special = pytest.importorskip("scipy.special")
    from jtorch.tensor import dispatch

    a, q, h = A([0.2, 0.9, 3.0, 40.0]), A([0.3, 0.95, 0.05, 0.6]), 1e-5
    x = special.gammaincinv(a, q)
    expected = (special.gammaincinv(a + h, q) - special.gammaincinv(a - h, q)) / (2 * h)
    ours = dispatch.call("_standard_gamma_grad", jtorch.tensor(a), jtorch.tensor(x))
    np.testing.assert_allclose(host(ours), expected, rtol=1e-5)
    b = A([0.5, 4.0, 0.7, 30.0])
    x = special.betaincinv(a, b, q)
    expected = (special.betaincinv(a + h, b, q) - special.betaincinv(a - h, b, q)) / (2 * h) / (1 - x)
    ours = dispatch.call("_dirichlet_grad", jtorch.tensor(x), jtorch.tensor(a), jtorch.tensor(a + b))
    np.testing.assert_allclose(host(ours), expected, rtol=1e-4)


def test_wishart_moments():
    jtorch.manual_seed(0)
    d = D.Wishart(jtorch.tensor(5.0), covariance_matrix=jtorch.tensor(S22.astype(np.float32)))
    sample = d.rsample((4000,))
    np.testing.assert_allclose(host(sample.mean(0)), host(d.mean), rtol=0.1, atol=0.1)
    np.testing.assert_allclose(host(sample.var(0)), host(d.variance), rtol=0.2)
    df = jtorch.tensor(5.0, requires_grad=True)
    D.Wishart(df, scale_tril=jtorch.eye(2)).rsample((4000,)).mean(0).sum().backward()
    np.testing.assert_allclose(df.grad.item(), 2.0, rtol=0.1)  # the mean is df * identity


KL_ARGS = {
    "Bernoulli": {"probs": U}, "Beta": {"concentration1": V, "concentration0": V + 1},
    "Binomial": {"total_count": 6, "probs": U}, "Categorical": {"probs": P3}, "Cauchy": {"loc": X, "scale": V},
    "ContinuousBernoulli": {"probs": U}, "Dirichlet": {"concentration": P3 * 5}, "Exponential": {"rate": V},
    "Gamma": {"concentration": V, "rate": V + 1}, "Geometric": {"probs": U}, "Gumbel": {"loc": X, "scale": V},
    "HalfNormal": {"scale": V}, "Laplace": {"loc": X, "scale": V},
    "LowRankMultivariateNormal": {"loc": X, "cov_factor": A([[0.5], [-1.0]]), "cov_diag": U},
    "MultivariateNormal": {"loc": X, "covariance_matrix": S22}, "Normal": {"loc": X, "scale": V},
    "OneHotCategorical": {"probs": P3}, "Pareto": {"scale": V, "alpha": V + 2}, "Poisson": {"rate": V},
    "Uniform": {"low": A([0.1, 0.2]), "high": A([0.5, 0.9])}, "LogNormal": {"loc": X, "scale": V},
}  # fmt: skip


def registered():
    from torch.distributions import kl

    for p, q in kl._KL_REGISTRY:
        if p.__name__ in KL_ARGS and q.__name__ in KL_ARGS:
            yield p.__name__, q.__name__


def test_kl_of_every_registered_pair():
    pairs = sorted(set(registered()))
    assert len(pairs) > 70
    for p, q in [*pairs, ("LogNormal", "LogNormal"), ("Chi2", "Chi2")]:
        args_p, args_q = KL_ARGS.get(p, {"df": V}), KL_ARGS.get(q, {"df": V})
        if p == q:  # other parameters for q: halve what may be halved
            change = {"probs": lambda v: v[::-1].copy(), "low": lambda v: v, "total_count": lambda v: v}
            args_q = {k: change.get(k, lambda v: v * 0.5)(v) for k, v in args_q.items()}
        (ours_p, _), (theirs_p, _) = make(p, args_p)
        (ours_q, _), (theirs_q, _) = make(q, args_q)
        expected = R.kl_divergence(theirs_p, theirs_q)
        actual = D.kl_divergence(ours_p, ours_q)
        np.testing.assert_allclose(host(actual), host(expected), rtol=1e-7, atol=1e-9, err_msg=f"{p} {q}")
        assert tuple(actual.shape) == tuple(expected.shape), (p, q)
    with pytest.raises(NotImplementedError, match="No KL"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.VonMises(0.0, 1.0))


M33 = A([[0.3, 9.0, 9.0], [0.2, -0.4, 9.0], [0.5, 0.1, 0.2]])
TRANSFORMS = [
    ("Exp", lambda T: T.ExpTransform(), X),
    ("Sigmoid", lambda T: T.SigmoidTransform(), X),
    ("Tanh", lambda T: T.TanhTransform(), X),
    ("Softplus", lambda T: T.SoftplusTransform(), X),
    ("Affine", lambda T: T.AffineTransform(1.0, -2.0), X),
    ("Affine-event", lambda T: T.AffineTransform(1.0, 0.5, event_dim=1), X),
    ("Power", lambda T: T.PowerTransform(1.5), V),
    ("Softmax", lambda T: T.SoftmaxTransform(), X),
    ("Abs", lambda T: T.AbsTransform(), V),
    ("StickBreaking", lambda T: T.StickBreakingTransform(), X),
    ("LowerCholesky", lambda T: T.LowerCholeskyTransform(), M33),
    ("PositiveDefinite", lambda T: T.PositiveDefiniteTransform(), M33),
    ("CorrCholesky", lambda T: T.CorrCholeskyTransform(), A([0.3, -0.8, 1.1])),
    ("Compose", lambda T: T.ComposeTransform([T.TanhTransform(), T.AffineTransform(0.5, 3.0)]), X),
    ("Independent", lambda T: T.IndependentTransform(T.ExpTransform(), 1), X),
    ("Reshape", lambda T: T.ReshapeTransform((2,), (2, 1)), X),
    ("Cat", lambda T: T.CatTransform([T.ExpTransform(), T.TanhTransform()], dim=0, lengths=[1, 1]), X),
    ("Stack", lambda T: T.StackTransform([T.ExpTransform(), T.TanhTransform()], dim=0), X),
    ("CDF", lambda T: T.CumulativeDistributionTransform(T.Normal(0.0, 1.0)), X),
]


@pytest.mark.parametrize("name,build,x", TRANSFORMS, ids=[t[0] for t in TRANSFORMS])
def test_transforms(name, build, x):
    ours, theirs = build(D), build(R)
    a, b = jtorch.tensor(x), torch.tensor(x)
    ya, yb = ours(a), theirs(b)
    same(ya, yb)
    same(ours.inv(ya), theirs.inv(yb), 1e-6)
    assert ours.bijective == theirs.bijective
    assert ours.inv.inv is ours and repr(ours) == repr(theirs)
    assert repr(ours.domain) == repr(theirs.domain) or "object at" in repr(theirs.domain) or name in ("Cat", "Stack")
    assert tuple(ours.forward_shape(jtorch.Size(x.shape))) == tuple(theirs.forward_shape(torch.Size(x.shape)))
    try:
        expected = theirs.log_abs_det_jacobian(b, yb)
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            ours.log_abs_det_jacobian(a, ya)
    else:
        same(ours.log_abs_det_jacobian(a, ya), expected, 1e-6)


def test_cache_keeps_the_input():
    t = D.ExpTransform(cache_size=1)
    x = jtorch.tensor([0.5])
    assert t.inv(t(x)) is x


@pytest.mark.parametrize("name", ["real", "positive", "unit_interval", "simplex", "real_vector", "lower_cholesky",
                                  "corr_cholesky", "positive_definite", "nonnegative"])  # fmt: skip
def test_registries(name):
    x = M33 if name in ("lower_cholesky", "positive_definite") else A([0.3, -0.8, 1.1])
    for registry in ("biject_to", "transform_to"):
        try:
            theirs = getattr(R, registry)(getattr(R.constraints, name))
        except NotImplementedError as e:
            with pytest.raises(NotImplementedError, match=str(e)):
                getattr(D, registry)(getattr(D.constraints, name))
            continue
        ours = getattr(D, registry)(getattr(D.constraints, name))
        y = ours(jtorch.tensor(x))
        same(y, theirs(torch.tensor(x)))
        assert bool(getattr(D.constraints, name).check(y).all())


CHECKS = [
    ("boolean", (), A([0.0, 1.0, 2.0])), ("real", (), A([0.0, np.nan])), ("positive", (), A([0.0, 1.0])),
    ("nonnegative", (), A([0.0, -1.0])), ("greater_than", (2,), A([2.0, 3.0])), ("less_than", (2,), A([2.0, 1.0])),
    ("interval", (-1, 1), A([1.0, 1.5])), ("half_open_interval", (0, 1), A([0.0, 1.0])), ("simplex", (), P3),
    ("nonnegative_integer", (), A([0.0, 1.5, -1.0])), ("positive_integer", (), A([0.0, 1.0])),
    ("integer_interval", (0, 2), A([2.0, 3.0, 0.5])), ("one_hot", (), A([[0.0, 1.0], [1.0, 1.0]])),
    ("real_vector", (), P3), ("multinomial", (3,), A([[1.0, 2.0], [2.0, 2.0]])), ("lower_triangular", (), M33),
    ("lower_cholesky", (), L22), ("symmetric", (), L22), ("positive_definite", (), S22), ("square", (), P3),
    ("positive_semidefinite", (), S22), ("corr_cholesky", (), L22), ("unit_interval", (), U),
]  # fmt: skip


@pytest.mark.parametrize("name,args,x", CHECKS, ids=[c[0] for c in CHECKS])
def test_constraints(name, args, x):
    ours, theirs = getattr(D.constraints, name), getattr(R.constraints, name)
    if args:
        ours, theirs = ours(*args), theirs(*args)
    np.testing.assert_array_equal(host(ours.check(jtorch.tensor(x))), host(theirs.check(torch.tensor(x))))
    assert repr(ours) == repr(theirs)
    assert (ours.event_dim, ours.is_discrete) == (theirs.event_dim, theirs.is_discrete)


ERRORS = [
    lambda lib, d: d.Normal(lib.zeros(2), -lib.ones(2)),
    lambda lib, d: d.Bernoulli(lib.tensor(1.5)),
    lambda lib, d: d.Bernoulli(),
    lambda lib, d: d.Uniform(1.0, 0.0),
    lambda lib, d: d.Categorical(lib.tensor(1.0)),
    lambda lib, d: d.Normal(0.0, 1.0).log_prob(2.0),
    lambda lib, d: d.Beta(1.0, 1.0).log_prob(lib.tensor(2.0)),
    lambda lib, d: d.Dirichlet(lib.ones(3)).log_prob(lib.ones(2)),
    lambda lib, d: d.Normal(lib.zeros(3), lib.ones(3)).log_prob(lib.zeros(2)),
    lambda lib, d: d.Independent(d.Normal(0.0, 1.0), 1),
    lambda lib, d: d.Normal("a", 1.0),
    lambda lib, d: d.LKJCholesky(1),
    lambda lib, d: d.MultivariateNormal(lib.zeros(2)),
    lambda lib, d: d.TransformedDistribution(d.Normal(0.0, 1.0), d.StickBreakingTransform()),
]


@pytest.fixture
def pytorch_validates():
    """PyTorch's own compiler, once imported by any test, turns validation off for the process."""
    before = R.Distribution._validate_args
    R.Distribution.set_default_validate_args(True)
    yield
    R.Distribution.set_default_validate_args(before)


@pytest.mark.parametrize("i", range(len(ERRORS)))
def test_errors(i, pytorch_validates):
    with pytest.raises(Exception) as theirs:  # noqa: B017 (the type is compared below)
        ERRORS[i](torch, R)
    with pytest.raises(theirs.type) as ours:
        ERRORS[i](jtorch, D)
    assert str(ours.value) == str(theirs.value)


def test_validation_can_be_turned_off():
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(__debug__)
    with pytest.raises(ValueError, match="parameter scale"):
        D.Normal(0.0, -1.0)


def test_composed_distributions():
    results = []
    for lib, d in ((jtorch, D), (torch, R)):
        lib.manual_seed(1)
        mixture = d.MixtureSameFamily(
            d.Categorical(lib.tensor([0.3, 0.7])), d.Normal(lib.tensor([-1.0, 2.0]), lib.tensor([0.5, 1.0]))
        )
        vectors = d.MixtureSameFamily(
            d.Categorical(lib.tensor([0.3, 0.7])), d.Independent(d.Normal(lib.zeros(2, 3), lib.ones(2, 3)), 1)
        )
        squashed = d.TransformedDistribution(
            d.Independent(d.Normal(lib.zeros(3), lib.ones(3)), 1), [d.TanhTransform(cache_size=1)]
        )
        x = squashed.rsample((2,))
        s = mixture.sample((4,))
        results.append([
            s, mixture.log_prob(s), mixture.cdf(s), mixture.mean, mixture.variance, x, squashed.log_prob(x),
            vectors.sample((2,)), vectors.mean, vectors.variance, vectors.expand((2,)).log_prob(lib.zeros(3)),
            d.Normal(0.0, 1.0).perplexity(),
        ])  # fmt: skip
        shapes = squashed.batch_shape, squashed.event_shape, squashed.expand((5,)).batch_shape
        results[-1].append(lib.tensor([len(s) for s in shapes]))
    for ours, theirs in zip(*results, strict=True):
        same(ours, theirs, 1e-5, 1e-6)


def test_policy_gradient_reaches_the_parameters():
    logits = jtorch.zeros(2, 3, requires_grad=True)
    d = D.Categorical(logits=logits)
    d.log_prob(jtorch.tensor([0, 2])).sum().backward()
    np.testing.assert_allclose(host(logits.grad), [[2 / 3, -1 / 3, -1 / 3], [-1 / 3, -1 / 3, 2 / 3]], rtol=1e-6)
