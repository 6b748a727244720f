"""Masked tensors: what they print, compute and differentiate, as PyTorch's."""

from __future__ import annotations

import pytest

import jtorch

from .both import check, check_raises, part

#: With ``t`` the library, ``x`` data, ``k`` a mask, ``m`` the package and ``M`` its ``masked_tensor``.
EXPRESSIONS = """
M(x,k)
M(x,k)+M(x,k)
M(x,k)+1
1+M(x,k)
M(x,k)*x
M(x,k).exp()
t.sqrt(M(x,k))
-M(x,k)
abs(M(x,k))
M(x,k)<2
M(x,k)>M(x,k)
M(x,k).sum()
M(x,k).sum(0)
M(x,k).sum(dim=1,keepdim=True)
M(x,k).mean()
M(x,k).mean(1)
M(x,k).amax(0)
M(x,k).amin(dim=1)
M(x,k).prod(1)
M(x,k).prod()
M(x,k).argmax()
M(x,k).argmin(dim=0)
M(x,k).all()
M(x,k)[0]
M(x,k)[:,1:]
M(x,k)[0,1]
M(x,k).reshape(3,2)
M(x,k).view(6)
M(x,k).transpose(0,1)
M(x,k).t()
M(x,k).unsqueeze(0)
M(x,k).expand(2,3)
t.cat([M(x,k),M(x,k)])
t.stack([M(x,k),M(x,k)])
M(x,k).get_data()
M(x,k).get_mask()
M(x,k).to_tensor(7)
M(x,k).shape
M(x,k).dtype
M(x,k).requires_grad
M(x,k).clone()
M(x,k).detach()
M(x,k).contiguous()
M(x,k).double()
M(x,k).to(t.float64)
M(x,k).int()
t.where(k,M(x,k),M(x,k))
t.where(k,M(x,k),x)
M(x,k).softmax(1)
M(x,k).std()
M(x,k).var(0)
m.is_masked_tensor(M(x,k))
m.is_masked_tensor(x)
M(x.long(),k)
M(x>2,k)
M(x.half(),k)
t.ones_like(M(x,k))
M(x,k).pow(2)
M(x,k)**2
M(x,k).clamp(1,3)
M(x,k).add_(1)
M(x,k).neg_()
M(x,k).mul_(M(x,k))
t.eq(M(x,k),M(x,k))
M(x,k)==2
M(x,k).maximum(M(x,k))
t.atan2(M(x,k),M(x,k))
M(x,k).float_power(2)
M(x,k).isnan()
M(x[0],k[0])
M(x[0,0],k[0,0])
M(x[0,0],~k[0,0])
len(M(x,k))
M(x,k).numel()
M(x,k).size()
M(x,k).dim()
M(x,k).stride()
M(x,k).device
M(x,k).layout
M(x,k).is_contiguous()
M(x,k).is_sparse
str(M(x,k))
repr(M(x,k,requires_grad=True))
M(x,k).nelement()
t.isclose(M(x,k),M(x,k))
M(x,k).flatten()
M(x,k).split(1)
M(x,k).chunk(2)
M(x,k).select(0,1)
M(x,k).narrow(1,0,2)
M(x,k).sum([0,1])
M(x,k).mean([0])
M(x,k).amax()
M(x,k).amax([0,1])
t.sum(M(x,k),0)
t.mean(M(x,k),dim=0)
M(x,k)/2
M(x,k)//2
M(x,k)%2
2/M(x,k)
m.as_masked_tensor(x,k)
m.masked_tensor(x.clone().requires_grad_(),k)
m.masked_tensor(x,k,requires_grad=True)
m.as_masked_tensor(x.clone().requires_grad_(),k).requires_grad
t.nn.functional.dropout(M(x,k),0.)
t.repeat_interleave(M(x,k),2)
t.sigmoid(M(x,k)).get_data()
(M(x,k)*2).get_data()
M(x,k).sum(0).get_mask()
M(x,k).sum().get_mask()
bool(M(x[0,0],k[0,0]))
float(M(x[0,0],k[0,0]))
G(lambda a:a.sum())
G(lambda a:(a*a).sum())
G(lambda a:a.exp().mean())
G(lambda a:a.amax())
G(lambda a:a.prod())
m.sum(M(x, k))
m.softmax(M(x, k), 1)
M(x, k).get_data().exp()
"""


def _names(t):
    m = part(t, "masked")
    x = t.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
    k = t.tensor([[True, False, True], [False, False, True]])

    def G(f):
        a = m.masked_tensor(x.clone(), k, requires_grad=True)
        f(a).backward()
        return a.grad

    return {"t": t, "m": m, "x": x, "k": k, "M": m.masked_tensor, "G": G}


@pytest.mark.parametrize("expression", EXPRESSIONS.split("\n")[1:-1])
def test_printed(expression):
    check(lambda t: repr(eval(expression, _names(t))).replace(t.__name__, "torch"))


_REFUSED = {
    "M(x, k) + M(x, ~k)": (ValueError, "masks must match"), "M(x, x)": (TypeError, "dtype bool"),
    "M(x, k[0])": (ValueError, "dim()"), "M([1.0], k)": (TypeError, "data must be a Tensor"),
    "M(M(x, k), k)": (TypeError, "data must be a Tensor"), "M(x.to(t.complex64), k)": (TypeError, "complex64"),
    "M(x, k) @ x.T": (TypeError, "matmul"), "M(x, k).cumsum(0)": (TypeError, "cumsum"),
    "M(x, k).tolist()": (RuntimeError, "tolist"), "M(x, k).numpy()": (RuntimeError, "numpy"),
    "M(x, k).max()": (TypeError, "max"), "t.allclose(M(x, k), M(x, k))": (TypeError, "allclose"),
    "M(x, k).add_(M(x, ~k))": (ValueError, "masks must match"),
}  # fmt: skip


@pytest.mark.parametrize("expression", _REFUSED)
def test_refused(expression):
    error, words = _REFUSED[expression]
    check_raises(lambda t: eval(expression, _names(t)), error, words)


def test_gradients_of_ordinary_tensors_are_0_where_masked():
    """Also where the derivative there is no number, which is what masked tensors are for."""
    names = _names(jtorch)
    x = jtorch.tensor([0.0, 4.0], requires_grad=True)
    y = names["m"].as_masked_tensor(x, jtorch.tensor([False, True])).sqrt().sum()
    y.backward()
    assert x.grad.tolist() == [0.0, 0.25]


def test_what_pytorch_refuses_keeps_the_mask():
    M, x, k = (_names(jtorch)[n] for n in "Mxk")
    for turned in (M(x, k).T, M(x, k).permute(1, 0), jtorch.zeros_like(M(x, k)).t()):
        assert turned.get_mask().equal(k.T)
    assert [row.get_mask().tolist() for row in M(x, k)] == k.tolist()
    assert jtorch.relu(M(-x, k)).to_tensor(9).tolist() == [[0, 9, 0], [9, 9, 0]]
