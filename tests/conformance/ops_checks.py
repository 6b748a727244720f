"""What is compared of one entry of PyTorch's ``op_db``, aspect by aspect.

Everything an entry needs is recorded first and run as one program (:func:`run_entry`): compiling is what costs. Should
that program fail, each sample is run alone.
"""

from __future__ import annotations

import re
import signal
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.testing._comparison import default_tolerances
from torch.testing._internal.common_device_type import precisionOverride, toleranceOverride

import jtorch

from .ops_convert import callable_of, fresh, ours, theirs, variant_of

ASPECTS = ("forward", "grad", "gradgrad", "inplace", "out", "errors", "messages")
#: Results are whatever memory holds: shapes and dtypes are compared, not values.
UNINITIALISED = {
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_",
    "resize_as_", "nn.functional.embedding_bag_max",
}  # fmt: skip
#: Which of equal elements an index names is not defined: of the dtypes that have many (not float32 and float64), only
#: the values are compared.
TIES = {"kthvalue", "topk", "sort"}  # and argsort
#: Vectors are defined up to a phase: compared is what the entry's own gradient checks look at.
PHASES = {"linalg.eigh", "linalg.eig", "linalg.svd", "svd", "svd_lowrank", "pca_lowrank", "symeig"}
#: Gradients are compared in the dtypes that gradcheck uses.
GRADIENT_DTYPES = (torch.float64, torch.complex128)

#: The double precision of what is rounded more coarsely.
WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


@dataclass
class Outcome:
    """One aspect of one entry and dtype: how many samples agreed, and what was said of the others."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Unlike(AssertionError):
    """Results differ."""


# --- comparison ----------------------------------------------------------------------------------------------------


def tolerance(op, dtype: torch.dtype) -> tuple[float, float]:
    """``(rtol, atol)``: torch.testing's, or what the entry's own decorators ask for where that is wider."""
    rtol, atol = default_tolerances(dtype)
    for info in op.decorators:
        for decorator in getattr(info, "decorators", [info]):
            if getattr(info, "device_type", None) in (None, "cpu"):
                if isinstance(decorator, toleranceOverride) and dtype in decorator.d:
                    given = decorator.d[dtype]
                    rtol, atol = max(rtol, given.rtol), max(atol, given.atol)
                elif isinstance(decorator, precisionOverride) and dtype in decorator.d:
                    atol = max(atol, decorator.d[dtype])
    return rtol, atol


def flat(value, path: str = "") -> list[tuple[str, object]]:
    """Nested results as ``(place, leaf)``; a leaf is a tensor or anything else that is not a container."""
    if isinstance(value, dict):
        return [x for name, entry in value.items() for x in flat(entry, f"{path}.{name}")]
    if isinstance(value, (list, tuple)) and not isinstance(value, (torch.Size, jtorch.Size)):
        return [x for i, entry in enumerate(value) for x in flat(entry, f"{path}[{i}]")]
    return [(path, value)]


def same(op, what: str, mine, other, values: bool = True) -> None:
    """Raises:
    Unlike: kind, shape, dtype or values differ.
    """
    mine, other = flat(mine), flat(other)
    if [p for p, _ in mine] != [p for p, _ in other]:
        raise Unlike(f"{what}: results at {[p for p, _ in mine]}, expected {[p for p, _ in other]}")
    for (place, a), (_, b) in zip(mine, other, strict=True):
        if isinstance(b, torch.Tensor):
            if not isinstance(a, jtorch.Tensor):
                raise Unlike(f"{what}{place}: {type(a).__name__}, expected a tensor")
            _same_tensor(op, what + place, theirs(a), b.detach(), values)
        elif isinstance(b, float):
            if not isinstance(a, float) or abs(a - b) > 1e-5 * max(1, abs(b)):
                if not (a != a and b != b) and a != b:
                    raise Unlike(f"{what}{place}: {a!r}, expected {b!r}")
        elif ours(b) != a:
            raise Unlike(f"{what}{place}: {a!r}, expected {b!r}")


def _same_tensor(op, what: str, a: torch.Tensor, b: torch.Tensor, values: bool) -> None:
    if b.layout is not torch.strided:
        b = b.to_dense()
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        raise Unlike(f"{what}: {a.dtype} {tuple(a.shape)}, expected {b.dtype} {tuple(b.shape)}")
    if not values or not b.numel() or b.is_meta:
        return
    b = b.resolve_conj().resolve_neg()
    rtol, atol = tolerance(op, b.dtype)
    if b.dtype.is_floating_point or b.dtype.is_complex:
        wide = torch.complex128 if b.dtype.is_complex else torch.float64
        a, b = a.to(wide), b.to(wide)
        finite = b[b.isfinite()]
        if finite.numel():  # a small element may be what large terms of a sum left: as exact as those
            atol = max(atol, rtol * float(finite.abs().max()))
    close = torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if not close.all():
        bad = ~close
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise Unlike(f"{what}: {int(bad.sum())} of {b.numel()} differ, at {at} {a[at].item()}, expected {b[at].item()}")


def _cotangent(x, seed: int):
    """Numbers of its own for each element of an output (of PyTorch's): of a sparse one, for those it has."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(tuple(x.shape), generator=generator, dtype=x.dtype)
    return made if x.layout is torch.strided else made.sparse_mask(x.detach())


# --- aspects -------------------------------------------------------------------------------------------------------
# Each takes the entry and a sample and returns a list of (what, jtorch's, PyTorch's): jtorch's may still be pending.


class Refused(Exception):
    """PyTorch itself refuses the sample: nothing to compare."""


def _both(op, sample, call_theirs, call_ours):
    """The two results on copies of the sample, under one seed each; and the copies."""
    given = fresh(sample)
    mine = ours(fresh(sample))
    torch.manual_seed(7)
    try:
        expected = call_theirs(given)
    except Exception as error:
        raise Refused from error
    jtorch.manual_seed(7)
    return call_ours(mine), expected, mine, given


def forward(op, sample) -> list:
    function = callable_of(op)
    result, expected, _, _ = _both(
        op, sample, lambda s: op.op(s.input, *s.args, **s.kwargs), lambda s: function(s.input, *s.args, **s.kwargs)
    )
    return [("result", *_defined(op, sample, result, expected), sample)]


def same_or_exact(op, what: str, mine, other, sample, values: bool) -> None:
    """:func:`same`, or else the same as what PyTorch has in double precision: its rounding on the way is not asked for.

    Raises:
        Unlike: neither.
    """
    try:
        same(op, what, mine, other, values)
    except Unlike:
        exact = _in_double(op, sample, other)
        if exact is None:
            raise
        same(op, what, mine, exact)


def _in_double(op, sample, other):
    """What the operation gives for the sample in double precision, rounded to the dtypes of ``other``; or None."""

    def widened(x):
        return x.to(WIDE.get(x.dtype, x.dtype)) if isinstance(x, torch.Tensor) else x

    given = fresh(sample).transform(widened)
    torch.manual_seed(7)
    try:
        exact = op.op(given.input, *given.args, **given.kwargs)
    except Exception:  # noqa: BLE001 (then there is no such result)
        return None
    pairs = [(x, y) for (_, x), (_, y) in zip(flat(exact), flat(other), strict=False)]
    if not any(isinstance(y, torch.Tensor) and y.dtype in WIDE for _, y in pairs):
        return None
    rounded = [x.to(y.dtype) if isinstance(y, torch.Tensor) else x for x, y in pairs]
    return rounded[0] if isinstance(exact, torch.Tensor) else rounded


def _defined(op, sample, result, expected):
    """Of both results, what is defined (see :data:`TIES` and :data:`PHASES`)."""
    if op.name in TIES and expected[0].dtype not in (torch.float32, torch.float64):
        return result[0], expected[0]
    if op.name == "argsort" and sample.input.dim() and sample.input.dtype not in (torch.float32, torch.float64):
        dim = (*sample.args, sample.kwargs.get("dim", -1))[0]
        return ours(sample.input).gather(dim, result), sample.input.gather(dim, expected)
    if op.name in PHASES:
        process = sample.output_process_fn_grad
        return ours(process)(result), process(expected)
    return result, expected


def inplace(op, sample) -> list:
    if sample.broadcasts_input:
        raise Refused
    variant = op.get_inplace()
    mine_variant = variant_of(variant)
    if mine_variant is None:
        raise NotImplementedError(f"no Tensor.{op.name}_")
    result, expected, mine, given = _both(
        op,
        _without_grad(sample),
        lambda s: variant(s.input, *s.args, **s.kwargs),
        lambda s: mine_variant(s.input, *s.args, **s.kwargs),
    )
    if expected is given.input and result is not mine.input:
        raise Unlike("in-place: returns another tensor")
    return [("in-place result", result, expected, sample), ("target", mine.input, given.input, sample)]


def out(op, sample) -> list:
    """Into outputs of the right shape, into empty ones (resized), and into ones of a dtype that cannot hold it."""
    sample, function = _without_grad(sample), callable_of(op)
    torch.manual_seed(7)
    try:
        expected = op.op(*(lambda s: (s.input, *s.args))(fresh(sample)), **sample.kwargs)
    except Exception as error:
        raise Refused from error
    several = isinstance(expected, (tuple, list))
    results = list(expected) if several else [expected]
    if not all(isinstance(x, torch.Tensor) and x.layout is torch.strided for x in results):
        raise Refused
    found = []
    for kind, shapes in (("right shape", [tuple(x.shape) for x in results]), ("empty", [(0,)] * len(results))):
        outs = [jtorch.empty(s, dtype=ours(x.dtype)) for s, x in zip(shapes, results, strict=True)]
        mine = ours(fresh(sample))
        jtorch.manual_seed(7)
        returned = function(mine.input, *mine.args, **mine.kwargs, out=tuple(outs) if several else outs[0])
        if (returned[0] if several else returned) is not outs[0]:
            raise Unlike(f"out= of {kind}: returns another tensor")
        if op.name in PHASES:  # which take the results by their names
            found.append((f"out= of {kind}", *_defined(op, sample, returned, expected), sample))
        else:
            both = (outs, results) if several else (outs[0], results[0])
            found.append((f"out= of {kind}", *_defined(op, sample, *both), sample))
    if results[0].dtype.is_floating_point or results[0].dtype.is_complex:
        outs = [torch.empty(tuple(x.shape), dtype=torch.long) for x in results]
        torch_raises = _raises(op.op, fresh(sample), tuple(outs) if several else outs[0])
        if torch_raises:
            mine, outs = ours(fresh(sample)), ours(outs)
            raised = _raises(function, mine, tuple(outs) if several else outs[0])
            if not isinstance(raised, torch_raises.__class__):
                raise Unlike(f"out= of dtype int64: {_said(raised)}, expected {_said(torch_raises)}")
    return found


def _raises(function, sample, outs):
    try:
        function(sample.input, *sample.args, **sample.kwargs, out=outs)
    except Exception as error:  # noqa: BLE001 (the exception is the result)
        return error
    return None


def gradients(op, sample, second: bool) -> tuple[list, list | None]:
    """First-order gradients, and with ``second`` those of the first-order ones: two lists of what to compare."""
    function, wrapper = callable_of(op), op.gradcheck_wrapper  # which makes an input symmetric, say
    result, expected, mine, given = _both(
        op,
        sample,
        lambda s: wrapper(op.op, s.input, *s.args, **s.kwargs),
        lambda s: ours(wrapper)(function, s.input, *s.args, **s.kwargs),
    )
    process = sample.output_process_fn_grad
    expected = [x for _, x in flat(process(expected)) if isinstance(x, torch.Tensor) and x.requires_grad]
    result = [x for _, x in flat(ours(process)(result)) if isinstance(x, jtorch.Tensor) and x.requires_grad]
    if not expected:
        raise Refused
    expected_inputs, inputs = _leaves(given, torch.Tensor), _leaves(mine, jtorch.Tensor)
    weights = [_cotangent(x, i) for i, x in enumerate(expected)]
    my_weights = [ours(w) for w in weights]
    if second:
        for w in (*weights, *my_weights):
            w.requires_grad_()
    first = _grad_of_theirs(expected, expected_inputs, weights, create_graph=second)
    if len(result) != len(expected):
        raise Unlike(f"{len(result)} results require grad, expected {len(expected)}")
    mine_first = jtorch.autograd.grad(result, inputs, my_weights, create_graph=second, allow_unused=True)
    pairs = [(f"gradient {i}", a, b) for i, (a, b) in enumerate(zip(mine_first, first, strict=True))]
    if not second:
        return pairs, None
    return pairs, _second(first, mine_first, (*expected_inputs, *weights), (*inputs, *my_weights))


def _grad_of_theirs(outputs, inputs, weights, create_graph=False):
    try:
        return torch.autograd.grad(outputs, inputs, weights, create_graph=create_graph, allow_unused=True)
    except Exception as error:
        raise Refused from error


def _second(first, mine_first, expected_inputs, inputs) -> list:
    kept = [i for i, g in enumerate(first) if g is not None and g.requires_grad]
    if not kept:
        return []
    gs = [first[i] for i in kept]
    weights = [_cotangent(g, 100 + i) for i, g in enumerate(gs)]
    expected = _grad_of_theirs(gs, expected_inputs, weights)
    mine_gs = [mine_first[i] for i in kept]
    for i, g in zip(kept, mine_gs, strict=True):
        if g is None or not g.requires_grad:
            raise Unlike(f"gradient {i} carries no gradient of its own")
    found = jtorch.autograd.grad(mine_gs, inputs, [ours(w) for w in weights], allow_unused=True)
    return [(f"second gradient {i}", a, b) for i, (a, b) in enumerate(zip(found, expected, strict=True))]


def _leaves(sample, kind) -> list:
    found = flat((sample.input, sample.args, sample.kwargs))
    unique = {id(x): x for _, x in found if isinstance(x, kind) and x.requires_grad}
    return list(unique.values())


def _without_grad(sample):
    made = fresh(sample)
    for _, x in flat((made.input, made.args, made.kwargs)):
        if isinstance(x, torch.Tensor):
            x.requires_grad_(False)
    return made


def same_gradients(op, pairs) -> None:
    """A gradient that PyTorch leaves out (None) may be zeros here, and the other way round: they add up to the same."""
    for what, a, b in pairs:
        if b is None and a is None:
            continue
        if b is None or a is None:
            present = theirs(a) if b is None else b
            try:
                same(op, what, ours(torch.zeros_like(present)), present)
            except Unlike:
                raise Unlike(f"{what}: {'None' if a is None else 'a tensor'}, where PyTorch has the other") from None
            continue
        same(op, what, a, b)


# --- errors --------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Za-z_]{3,}")


def raises_alike(op, error_input) -> str | None:
    """None when exception and words agree, else what is different about the words.

    The words agree when PyTorch's pattern matches, or half of the pattern's words (of three letters or more) are in
    the message.

    Raises:
        Unlike: another exception, or none.
    """
    sample = ours(error_input.sample_input)
    function = callable_of(op)
    try:
        given = fresh(error_input.sample_input)
        op.op(given.input, *given.args, **given.kwargs)
    except Exception:  # noqa: BLE001 (what the table expects)
        pass
    else:
        raise Refused  # an error of some other device
    try:
        result = function(sample.input, *sample.args, **sample.kwargs)
        [x.numpy() for _, x in flat(result) if isinstance(x, jtorch.Tensor) and not x.requires_grad]
    except NotImplementedError:
        if error_input.error_type is not NotImplementedError:
            raise
        return None
    except Exception as error:  # noqa: BLE001 (the exception is the result)
        if not isinstance(error, error_input.error_type):
            raise Unlike(
                f"{_said(error)}, expected {error_input.error_type.__name__}: {error_input.error_regex}"
            ) from None
        text, pattern = str(error), error_input.error_regex
        words = set(_WORD.findall(pattern.lower()))
        if re.search(pattern, text) or 2 * len(words & set(_WORD.findall(text.lower()))) >= len(words):
            return None
        return f"{text!r}, expected {pattern!r}"
    raise Unlike(f"no error, expected {error_input.error_type.__name__}: {error_input.error_regex}")


def _said(error) -> str:
    return "no error" if error is None else f"{type(error).__name__}: {str(error)[:200]}"


# --- one entry -----------------------------------------------------------------------------------------------------


@contextmanager
def _limit(seconds: int):
    """Raises:
    TimeoutError: the block takes longer (in Python; a compilation that is under way ends first).
    """

    def stop(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _spread(items: list, limit: int) -> list:
    return items if len(items) <= limit else [items[i * len(items) // limit] for i in range(limit)]


def samples_of(op, dtype: torch.dtype, limit: int, requires_grad: bool) -> list:
    torch.manual_seed(0)
    found = [s for s in op.sample_inputs("cpu", dtype, requires_grad=requires_grad) if not _too_large(s)]
    return _spread(found, limit)


def _too_large(sample) -> bool:
    """Samples that are there to be large cost minutes and compare nothing else."""
    return any(isinstance(x, torch.Tensor) and x.numel() > 100_000 for _, x in flat((sample.input, sample.args)))


def run_entry(op, dtype: torch.dtype, limit: int, aspects=ASPECTS, seconds: int = 120) -> dict[str, Outcome]:
    """Every aspect of one entry at one dtype (errors: at every dtype of theirs, when ``dtype`` is the first)."""
    found: dict[str, Outcome] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _limit(seconds):
                _run(op, dtype, limit, aspects, found)
        except TimeoutError as error:
            found.setdefault("forward", Outcome()).failed.append(str(error))
    return found


def _run(op, dtype, limit, aspects, found) -> None:
    if callable_of(op) is None:
        found["forward"] = Outcome(missing=[f"jtorch has no {op.name}"])
        return
    samples = samples_of(op, dtype, limit, requires_grad=False)
    values = op.name not in UNINITIALISED
    jobs: list[tuple] = []
    if "forward" in aspects:
        jobs += [("forward", i, lambda s=s: forward(op, s)) for i, s in enumerate(samples)]
    if "inplace" in aspects and op.get_inplace() is not None:
        jobs += [("inplace", i, lambda s=s: inplace(op, s)) for i, s in enumerate(samples)]
    if "out" in aspects and op.supports_out:
        jobs += [("out", i, lambda s=s: out(op, s)) for i, s in enumerate(samples[:2])]
    _settle(op, jobs, found, lambda pairs: [same_or_exact(op, *pair, values) for pair in pairs])

    if "grad" in aspects and op.supports_autograd and dtype in GRADIENT_DTYPES:
        if dtype in op.supported_backward_dtypes("cpu"):
            _gradients(op, dtype, limit, "gradgrad" in aspects and op.supports_gradgrad, found)
    if "errors" in aspects and op.error_inputs_func is not None and dtype == first_dtype(op):
        _errors(op, found)


def first_dtype(op) -> torch.dtype:
    """The dtype whose run also checks the entry's errors: float32 where there is one."""
    supported = op.supported_dtypes("cpu")
    return torch.float32 if torch.float32 in supported else sorted(supported, key=str)[0]


def _settle(op, jobs, found, compare) -> None:
    """Record every job, run all of them as one program, compare."""
    recorded = []
    for aspect, i, job in jobs:

        def record(row=(aspect, i, job)):
            recorded.append((*row, row[-1]()))

        _counted(aspect, i, found, record, counts=False)
    try:
        jtorch.sync()
        alone = False
    except Exception:  # noqa: BLE001 (which of them it was is found out below)
        alone = True
    for aspect, i, job, pairs in recorded:

        def check(job=job, pairs=pairs):
            compare(job() if alone else pairs)

        _counted(aspect, i, found, check)


def _counted(aspect, i, found, check, counts: bool = True) -> None:
    outcome = found.setdefault(aspect, Outcome())
    try:
        check()
    except Refused:
        pass
    except NotImplementedError as error:
        outcome.missing.append(f"[{i}] {error}")
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 (the next sample runs all the same)
        outcome.failed.append(f"[{i}] {'' if isinstance(error, Unlike) else type(error).__name__ + ': '}{error}")
    else:
        outcome.passed += counts


def _gradients(op, dtype, limit, second, found) -> None:
    samples = samples_of(op, dtype, limit, requires_grad=True)
    computed = {}

    def record(i, sample):
        try:
            computed[i] = gradients(op, sample, second)
        except NotImplementedError:
            raise
        except Refused:
            if not second:
                raise
            computed[i] = gradients(op, sample, False)  # PyTorch has no second derivative of it
        except Exception:
            if not second:
                raise
            computed[i] = gradients(op, sample, False)  # the first order may be right all the same
            found.setdefault("gradgrad", Outcome()).failed.append(f"[{i}] {_last_error(op, sample)}")
        return computed[i][0]

    jobs = [("grad", i, lambda i=i, s=s: record(i, s)) for i, s in enumerate(samples)]
    _settle(op, jobs, found, lambda pairs: same_gradients(op, pairs))
    for i, (_, pairs) in computed.items():
        if pairs is not None:
            _counted("gradgrad", i, found, lambda pairs=pairs: same_gradients(op, pairs))


def _last_error(op, sample) -> str:
    try:
        gradients(op, sample, True)
    except Exception as error:  # noqa: BLE001 (what it says is the result)
        return f"{type(error).__name__}: {error}"
    return "raised once, not again"


def _errors(op, found) -> None:
    torch.manual_seed(0)
    for i, error_input in enumerate(op.error_inputs_func(op, "cpu")):
        words = []
        _counted("errors", i, found, lambda e=error_input, w=words: w.append(raises_alike(op, e)))
        if words:
            outcome = found.setdefault("messages", Outcome())
            if words[0] is None:
                outcome.passed += 1
            else:
                outcome.failed.append(f"[{i}] {words[0]}")
