"""Sparse tensors: the same programs under jtorch and PyTorch give the same values, gradients, texts and errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

table = Table()

PLACES = [[0, 1, 1, 3, 0], [2, 0, 2, 1, 2]]
NUMBERS = [3.0, 4.0, 5.0, -1.0, 2.0]


def example(torch, **options):
    """A 4x3 matrix with one place stored twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.sparse_coo_tensor(torch.tensor(PLACES), torch.tensor(NUMBERS), (4, 3), **options)


def dense(torch, *shape, grad=False):
    n = int(np.prod(shape))
    return torch.tensor(np.cos(np.arange(n)).reshape(shape).astype(np.float32)).requires_grad_(grad)


def parts(s):
    """Everything a sparse tensor shows."""
    s = s.coalesce() if str(s.layout) == "torch.sparse_coo" else s
    names = {
        "torch.sparse_coo": ("indices",), "torch.sparse_csr": ("crow_indices", "col_indices"),
        "torch.sparse_csc": ("ccol_indices", "row_indices"), "torch.sparse_bsr": ("crow_indices", "col_indices"),
        "torch.sparse_bsc": ("ccol_indices", "row_indices"),
    }[str(s.layout)]  # fmt: skip
    return [str(s.layout), tuple(s.shape), s._nnz(), s.values(), *(getattr(s, n)() for n in names)]


@table
def facts(torch):
    s = example(torch)
    c = s.coalesce()
    return [
        s.is_sparse, s.layout == torch.sparse_coo, s._nnz(), s.sparse_dim(), s.dense_dim(), s.is_coalesced(),
        c.is_coalesced(), c._nnz(), c.indices(), c.values(), s._indices(), s._values(), tuple(s.size()), s.dim(),
        s.numel(), str(s.dtype), str(s.device), s.requires_grad, isinstance(s, torch.Tensor), s.is_floating_point(),
        torch.ones(2).is_sparse, torch.ones(2, 3).sparse_dim(), torch.ones(2, 3).dense_dim(), s.type(),
        s.to_sparse_csr().is_sparse_csr,
    ]  # fmt: skip


@table
def printed(torch):
    s = example(torch)
    return [
        repr(s), repr(s.coalesce()), repr(s.to_sparse_csr()), repr(s.to_sparse_csc()), repr(s.double()),
        repr(example(torch, requires_grad=True)), repr(torch.arange(16.0).view(4, 4).to_sparse_bsr((2, 2))),
        repr(torch.zeros(2, 3).to_sparse()), repr(torch.sparse_coo_tensor(size=(2, 3))),
    ]  # fmt: skip


@table
def layouts(torch):
    s, results = example(torch), []
    for other in (s.to_sparse_csr(), s.to_sparse_csc(), s.to_sparse_bsr((2, 3)), s.to_sparse_bsc((2, 1))):
        results += [parts(other), other.to_dense(), parts(other.to_sparse_coo())]
    x = dense(torch, 4, 3)
    x = x * (x > 0)
    results += [parts(x.to_sparse()), parts(x.to_sparse(layout=torch.sparse_csr)), parts(x.to_sparse_csc())]
    hybrid = torch.sparse_coo_tensor([[0, 1, 3], [1, 0, 1]], dense(torch, 3, 2), (4, 2, 2))
    for other in (hybrid.to_sparse_csr(), hybrid.to_sparse_csc(), x.reshape(2, 3, 2).to_sparse_csr(dense_dim=1)):
        results += [parts(other), other.dense_dim(), other.to_dense(), parts(other.to_sparse_coo()), repr(other)]
    results += [x.to_sparse(1).to_dense(), x.to_sparse(1)._values(), parts(x.to_sparse_bsc((2, 3)))]
    return results


@table
def made_from_parts(torch):
    csr = torch.sparse_csr_tensor(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), torch.tensor([1.0, 2, 3]), (2, 3))
    csc = torch.sparse_csc_tensor([0, 1, 2, 3], [0, 1, 0], [1.0, 2, 3], dtype=torch.float64)
    bsr = torch.sparse_bsr_tensor([0, 1, 2], [1, 0], torch.ones(2, 2, 2))
    bsc = torch.sparse_bsc_tensor([0, 1, 2], [1, 0], torch.ones(2, 2, 2), size=(4, 4))
    hybrid = torch.sparse_coo_tensor([[0, 2]], [[1.0, 2.0], [3.0, 4.0]], (3, 2))
    return [
        parts(csr), csr.to_dense(), parts(csc), parts(bsr), bsr.to_dense(), bsc.to_dense(), parts(hybrid),
        hybrid.to_dense(), hybrid.dense_dim(), torch.sparse_coo_tensor([[1, 0]], [1, 2]).to_dense(),
        torch.sparse_compressed_tensor([0, 1], [0], [5.0], layout=torch.sparse_csr).to_dense(),
        torch.zeros(2, 3, layout=torch.sparse_coo)._nnz(), torch.zeros_like(example(torch))._nnz(),
    ]  # fmt: skip


@table
def products(torch):
    s, x, v = example(torch), dense(torch, 3, 2), dense(torch, 3)
    csr = s.to_sparse_csr()
    return [
        torch.sparse.mm(s, x), torch.mm(s, x), s @ x, torch.matmul(s, x), s.mm(x), s @ v, torch.mv(s, v), csr @ x,
        torch.sparse.mm(csr, x), dense(torch, 2, 4) @ s, torch.addmm(dense(torch, 4, 2), s, x, beta=0.5, alpha=2.0),
        torch.sparse.addmm(dense(torch, 4, 2), s, x), parts(torch.sparse.mm(s, s.t())), parts(s @ s.t()),
        torch.spmm(s, x), torch.sparse.mm(csr, x, "mean"), torch.sparse.mm(csr, x, "amax"),
        torch.sparse.mm(csr, x, "min"), torch.smm(s, x).to_dense(),
    ]  # fmt: skip


@table
def gradients_of_products(torch):
    x = dense(torch, 3, 2, grad=True)
    s = example(torch).coalesce().detach().requires_grad_()
    weights = dense(torch, 4, 2)
    (torch.sparse.mm(s, x) * weights).sum().backward()
    first = [x.grad, s.grad.to_dense(), s.grad.is_sparse]
    values = torch.tensor(NUMBERS, requires_grad=True)
    t = torch.sparse_coo_tensor(torch.tensor(PLACES), values, (4, 3))
    y = (torch.sparse.mm(t, x) * weights).sum() + (t.to_dense() ** 2).sum()
    return [*first, *torch.autograd.grad(y, (values, x)), t.requires_grad]


@table
def gradients_through_coalesce(torch):
    values = torch.tensor(NUMBERS, requires_grad=True)
    t = torch.sparse_coo_tensor(torch.tensor(PLACES), values, (4, 3)).coalesce()
    (t.values() ** 2).sum().backward()
    first = values.grad.clone()
    d = dense(torch, 3, 2, grad=True)
    (d.to_sparse().values() ** 3).sum().backward()
    return [first, d.grad]


@table
def products_with_what_is_broadcast(torch):
    s, hybrid = example(torch).coalesce(), torch.sparse_coo_tensor([[1, 3]], [[1.0, 2.0], [3.0, 4.0]], (4, 2))
    return [
        (s * dense(torch, 3)).to_dense(), (dense(torch, 4, 1) * s).to_dense(), parts(s * torch.tensor([2.0])),
        (s * torch.ones(1, 1)).to_dense(), (hybrid * torch.tensor([2.0, 3.0])).to_dense(),
        (hybrid * torch.arange(4.0)[:, None]).to_dense(),
    ]  # fmt: skip


def test_gradients_of_products_with_what_is_broadcast():
    """Which PyTorch does not have: as of dense tensors."""
    weights, found = dense(jtorch, 4, 3), []
    for s in (example(jtorch).coalesce(), example(jtorch).to_sparse_csr(), example(jtorch).to_dense()):
        row, column = dense(jtorch, 3, grad=True), dense(jtorch, 4, 1, grad=True)
        y = (s * row).to_dense() + (column * s).to_dense()
        found.append(jtorch.autograd.grad((y * weights).sum(), (row, column)))
    for other in found[:2]:
        jtorch.testing.assert_close(other, found[2])


@table
def gradients_at_other_places(torch):
    """Of a gradient counts what lies where the tensor has elements."""
    found = []
    for g in (torch.sparse_coo_tensor([[1, 2]], [3.0, 5.0], (4,)),
              torch.sparse_coo_tensor([[0, 1, 3]], [1.0, 2.0, 3.0], (4,))):  # fmt: skip
        s = torch.sparse_coo_tensor([[0, 1, 3]], [1.0, 2.0, 3.0], (4,)).requires_grad_()
        torch.sparse.softmax(s, 0).backward(g)
        found.append(s.grad.to_dense())
    return found


@table
def gradients_are_checked(torch):
    """By varying what is stored."""
    check = torch.autograd.gradcheck
    s = example(torch).double().coalesce().requires_grad_()
    x = dense(torch, 3, 2).double().requires_grad_()
    wrong = torch.sparse_coo_tensor([[0, 2]], torch.tensor([1.0, 2.0], dtype=torch.float64)).requires_grad_()
    return [
        check(torch.sparse.mm, (s, x), masked=True),
        check(lambda t: torch.sparse.softmax(t, 1).to_dense(masked_grad=True), s, masked=True),
        check(lambda t: (t * t.detach()).to_dense(masked_grad=True), wrong, masked=True, raise_exception=False),
    ]


@table
def small_facts(torch):
    one = torch.sparse_coo_tensor([[1]], [1.0], (2,))
    blocks = torch.eye(4).to_sparse_bsc((2, 2))
    return [
        one.is_coalesced(), torch.sparse_coo_tensor([[], []], [], (2, 2)).is_coalesced(),
        torch.sparse_coo_tensor([[0]], [2.0], (1,)).is_nonzero(), parts(dense(torch, 4, 4).sparse_mask(blocks)),
    ]  # fmt: skip


@table
def arithmetic(torch):
    s, t = example(torch), example(torch).t().coalesce().t() * 0.5
    x = dense(torch, 4, 3)
    c = s.coalesce()
    return [
        (s + t).to_dense(), (s - t).to_dense(), (x + s), (x - s), torch.add(x, s, alpha=2), parts(c + c),
        (s * 2).to_dense(), (3 * s).to_dense(), (s / 4).to_dense(), (-s).to_dense(), parts(c * x), parts(x * c),
        parts(c * (t.coalesce())), s.abs().to_dense(), torch.sqrt(abs(c)).to_dense(), c.pow(2).to_dense(),
        torch.relu(s).to_dense(), s.norm(), s.sin().to_dense(), (s.to_sparse_csr() * 2).to_dense(),
        s.to_sparse_csr().abs().values(), torch.sum(s), s.sum(),
    ]  # fmt: skip


@table
def in_place(torch):
    x = dense(torch, 4, 3)
    x.add_(example(torch), alpha=-0.5)
    x += example(torch)
    s = example(torch)
    s.mul_(2)
    s += example(torch)
    z = example(torch).zero_()
    n = example(torch).neg_()
    with pytest.raises(RuntimeError, match="result type Float"):
        example(torch).to(torch.int32).add_(example(torch))
    return [x, s.to_dense(), z._nnz(), z.to_dense(), n.to_dense()]


@table
def sums(torch):
    s = example(torch)
    hybrid = torch.sparse_coo_tensor([[0, 2], [1, 1]], [[1.0, 2.0], [3.0, 4.0]], (3, 2, 2))
    return [
        torch.sparse.sum(s), torch.sparse.sum(s, 0).to_dense(), torch.sparse.sum(s, (0,)).to_dense(),
        torch.sparse.sum(s, [0, 1]), torch.sparse.sum(s, dtype=torch.float64), s.sum(1).to_dense(),
        torch.sparse.sum(hybrid, 2).to_dense(), torch.sparse.sum(hybrid, (0, 1)),
        torch.sparse.sum(hybrid, 1).to_dense(),
    ]  # fmt: skip


@table
def softmax(torch):
    values = torch.tensor(NUMBERS, requires_grad=True)
    s = torch.sparse_coo_tensor(torch.tensor(PLACES), values, (4, 3))
    a, b = torch.sparse.softmax(s, 1), torch.sparse.log_softmax(s, 0)
    (a.to_dense() * dense(torch, 4, 3)).sum().backward()
    return [parts(a), parts(b), values.grad, torch.sparse.softmax(s, dim=0, dtype=torch.float64).to_dense()]


@table
def shapes_and_parts(torch):
    s = example(torch)
    hybrid = torch.sparse_coo_tensor([[0, 2]], [[1.0, 2.0], [3.0, 4.0]], (3, 2))
    return [
        s.t().to_dense(), s.transpose(0, 1).to_dense(), s.permute(1, 0).to_dense(), s.T.to_dense(),
        s.unsqueeze(0).to_dense(), s.unsqueeze(-1).to_dense(), s[1].to_dense(), s[0, 2], s[:, 2].to_dense(),
        s.index_select(0, torch.tensor([1, 1, 3])).to_dense(), s.select(1, 0).to_dense(), hybrid[2],
        torch.cat([s, s]).to_dense(), torch.cat([s, s], 1).to_dense(), torch.stack([s, s], 1).to_dense(),
        s.clone().to_dense(), s.double().to_dense(),
        str(s.to_sparse_csr().t().layout), s.to_sparse_csr().t().to_dense(),
        torch.ones(4, 3).sparse_mask(s.coalesce()).to_dense(),
        dense(torch, 4, 3).sparse_mask(s.to_sparse_csr()).values(),
    ]  # fmt: skip


@table
def sampled_product(torch):
    csr = example(torch).to_sparse_csr()
    a, b = dense(torch, 4, 5), dense(torch, 5, 3)
    return [torch.sparse.sampled_addmm(csr, a, b, beta=0.5, alpha=2.0).to_dense()]


@table
def diagonals(torch):
    d = dense(torch, 3, 4)
    return [torch.sparse.spdiags(d, torch.tensor([0, -1, 2]), (4, 4)).to_dense(),
            torch.sparse.spdiags(d[0], torch.tensor([1]), (3, 4), torch.sparse_csr).to_dense()]  # fmt: skip


@table
def batches(torch):
    s = torch.sparse_coo_tensor([[0, 0, 1], [0, 1, 2], [1, 0, 1]], [1.0, 2.0, 3.0], (2, 3, 2))
    return [torch.bmm(s, dense(torch, 2, 2, 4))]


@table
def types_of_old(torch):
    s = torch.sparse.FloatTensor(torch.tensor(PLACES), torch.tensor(NUMBERS), torch.Size([4, 3]))
    return [s.to_dense(), str(s.dtype)]


@table
def sparse_embedding_gradient(torch):
    e = torch.nn.Embedding(6, 3, sparse=True, padding_idx=2)
    with torch.no_grad():
        e.weight.copy_(dense(torch, 6, 3))
    index = torch.tensor([[1, 4, 1], [2, 0, 4]])
    (e(index) ** 2).sum().backward()
    g = e.weight.grad
    first = [g.is_sparse, parts(g), g._nnz()]
    (e(index[:1]) ** 3).sum().backward()
    bag = torch.nn.EmbeddingBag(6, 3, sparse=True, mode="mean")
    with torch.no_grad():
        bag.weight.copy_(dense(torch, 6, 3))
    (bag(torch.tensor([0, 1, 1, 5]), torch.tensor([0, 3])) ** 2).sum().backward()
    seen = []
    e.weight.register_hook(lambda g: seen.append(g.is_sparse))
    e(index).sum().backward()
    return [*first, e.weight.grad.to_dense(), bag.weight.grad.is_sparse, bag.weight.grad.to_dense(), seen]


@table
def optimizers_take_sparse_gradients(torch):
    results = []
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adagrad(p, lr=0.1), lambda p: torch.optim.SparseAdam(p, lr=0.1),
    ):  # fmt: skip
        e = torch.nn.Embedding(5, 2, sparse=True)
        with torch.no_grad():
            e.weight.copy_(dense(torch, 5, 2))
        opt = make(list(e.parameters()))
        for step in range(3):
            opt.zero_grad()
            (e(torch.tensor([0, step, 1, step])) ** 2).sum().backward()
            opt.step()
        results.append(e.weight)
    return results


@table
def dense_and_sparse_gradients_meet(torch):
    w = dense(torch, 4, 2, grad=True)
    y = torch.nn.functional.embedding(torch.tensor([1, 3, 1]), w, sparse=True)
    ((y**2).sum() + (w * 3).sum()).backward()
    return [w.grad.is_sparse, w.grad]


@table
def graph_convolution_trains(torch):
    """Two layers of Kipf and Welling's network on a ring of eight nodes."""
    n = 8
    ring = torch.tensor([[i for i in range(n)] * 2, [(i + 1) % n for i in range(n)] + [(i - 1) % n for i in range(n)]])
    adjacency = torch.sparse_coo_tensor(ring, torch.full((2 * n,), 0.5), (n, n)).coalesce()
    features = torch.eye(n).to_sparse()
    first, second = dense(torch, n, 5, grad=True), dense(torch, 5, 3, grad=True)
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    opt, losses = torch.optim.Adam([first, second], lr=0.1), []
    for _ in range(5):
        opt.zero_grad()
        h = torch.relu(torch.spmm(adjacency, torch.spmm(features, first)))
        out = torch.log_softmax(torch.sparse.mm(adjacency, h @ second), 1)
        loss = torch.nn.functional.nll_loss(out, target)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return [losses, first, second]


@table
def parts_of_gradients(torch):
    s = example(torch).coalesce().detach().requires_grad_()
    (g,) = torch.autograd.grad((s.to_dense() ** 2).sum(), [s])
    return [g.to_dense()]


@pytest.mark.parametrize("name", table)
def test_program(name):
    check(table[name])


@pytest.mark.parametrize("call, error, words", [
    (lambda torch: example(torch).indices(), RuntimeError, "coalesce() first"),
    (lambda torch: example(torch).values(), RuntimeError, "coalesce() first"),
    (lambda torch: torch.ones(2, 2).indices(), RuntimeError, "got Strided"),
    (lambda torch: example(torch).crow_indices(), RuntimeError, "got Sparse"),
    (lambda torch: example(torch).to_sparse_csr().indices(), RuntimeError, "got SparseCsr"),
    (lambda torch: example(torch).numpy(), TypeError, "to_dense"),
    (lambda torch: torch.exp(example(torch)), NotImplementedError, "SparseCPU"),
    (lambda torch: torch.add(example(torch), torch.ones(4, 3)), RuntimeError, "Use add(dense, sparse)"),
    (lambda torch: example(torch) / torch.ones(4, 3), RuntimeError, "scalar or zero-dim"),
    (lambda torch: example(torch) @ torch.ones(4, 2), RuntimeError, "cannot be multiplied"),
    (lambda torch: torch.sparse.mm(example(torch).to_sparse_csr(), torch.ones(3, 2), "prod"), RuntimeError, "prod"),
    (lambda torch: torch.sparse.mm(example(torch).to_sparse_csr(), torch.ones(3, 2), "most"), RuntimeError, "either"),
    (lambda torch: example(torch).reshape(3, 4), RuntimeError, "reshape"),
    (lambda torch: torch.sparse_coo_tensor([[0, 1]], [1.0], (2,)), RuntimeError, "nnz"),
    (lambda torch: torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,), check_invariants=True), RuntimeError, "index 5"),
    (lambda torch: torch.optim.Adam([w := dense(torch, 4, 2, grad=True)]).step() or torch.nn.functional.embedding(
        torch.tensor([1]), w, sparse=True).sum().backward() or torch.optim.Adam([w]).step(), RuntimeError,
     "sparse gradients"),
])  # fmt: skip
def test_errors(call, error, words):
    check_raises(call, error, words)


def test_indices_are_checked_at_once():
    """Where PyTorch would write outside its memory unless asked to check."""
    with pytest.raises(RuntimeError, match="size is 2 but found index 5"):
        jtorch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (2,))


def test_a_training_step_with_a_sparse_matrix_compiles_once(monkeypatch):
    monkeypatch.setattr(jtorch.config, "interpret", False)
    adjacency = example(jtorch).coalesce()
    w = dense(jtorch, 3, 2).requires_grad_()
    opt = jtorch.optim.SGD([w], lr=0.1)
    before = []
    for _ in range(4):
        before.append(jtorch.debug.counters()["compiles"])
        opt.zero_grad()
        (jtorch.sparse.mm(adjacency, w) ** 2).sum().backward()
        opt.step()
    assert jtorch.debug.counters()["compiles"] == before[-1] == before[1] > before[0]


@pytest.mark.parametrize("convert", ["coalesce", "to_sparse_csr", "to_sparse_csc", "clone"])
def test_files(convert, tmp_path):
    """Files go both ways."""
    torch = pytest.importorskip("torch")
    for write, read in ((jtorch, torch), (torch, jtorch), (jtorch, jtorch)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = getattr(example(write), convert)()
            write.save({"s": s}, tmp_path / "s.pt")
            t = read.load(tmp_path / "s.pt")["s"]
        assert str(t.layout) == str(s.layout) and (t.layout != read.sparse_coo or t.is_coalesced() == s.is_coalesced())
        np.testing.assert_array_equal(t.to_dense().numpy(), s.to_dense().numpy())


def test_a_damaged_file_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s = torch.sparse_coo_tensor([[0, 7]], [1.0, 2.0], (8,))
        torch.save(s, tmp_path / "s.pt")
    data = (tmp_path / "s.pt").read_bytes()
    bad = data.replace((7).to_bytes(8, "little"), (9).to_bytes(8, "little"))
    assert bad != data
    (tmp_path / "s.pt").write_bytes(bad)
    with pytest.raises(Exception, match="outside of it|damaged|CRC"):
        jtorch.load(tmp_path / "s.pt")


def test_pickle_and_copy():
    import copy
    import pickle

    s = example(jtorch).coalesce()
    for t in (pickle.loads(pickle.dumps(s)), copy.deepcopy(s)):
        np.testing.assert_array_equal(t.to_dense().numpy(), s.to_dense().numpy())
