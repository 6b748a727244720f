"""Random numbers in exported programs: drawn at each call, in the order and from the stream of the module's own."""

import io

import pytest

import jtorch as torch
from jtorch.export import Dim


def model(torch):
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.ReLU())
            self.drop = torch.nn.Dropout1d(0.3)

        def forward(self, x):
            torch.rand(2)  # whose numbers nobody uses
            scale, noise = torch.rand(x.shape[0], 1), torch.randn_like(x)
            return self.drop(self.net(x + noise) * scale), torch.randperm(5), torch.randint(0, 9, (2,)), torch.rand(3)

    torch.manual_seed(0)
    return Noisy()


def ran(torch, module, rows=(5, 5)):
    """Results of two calls after seeding, and a number drawn after them."""
    torch.manual_seed(3)
    return [t.tolist() for n in rows for t in module(torch.arange(3.0 * n).view(n, 3) / 9)] + [torch.rand(1).tolist()]


def reloaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


@pytest.mark.parametrize("shapes", [None, [{0: Dim("b", min=2)}]], ids=["fixed", "open"])
def test_each_call_draws_what_the_module_would(shapes):
    module = model(torch)
    torch.manual_seed(1)
    program = torch.export.export(module, (torch.ones(5, 3),), dynamic_shapes=shapes)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))  # exporting draws nothing
    rows = (5, 5) if shapes is None else (5, 8)
    wanted = ran(torch, module, rows)
    for made in (program.module(), reloaded(program).module(), torch.export.unflatten(program)):
        for found, x in zip(ran(torch, made, rows), wanted, strict=True):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(x))
    if shapes is None:
        torch.manual_seed(3)
        state = [t.detach() for t in (*program.parameters(), *program.buffers())]
        found = program.graph_module(*state, torch.arange(15.0).view(5, 3) / 9)
        torch.testing.assert_close(found[0], torch.tensor(wanted[0]))


def test_they_are_the_numbers_of_pytorch():
    reference = pytest.importorskip("torch")
    results = []
    for library in (torch, reference):
        example = (library.ones(5, 3),)
        program = library.export.export(model(library), example)
        results.append(ran(library, program.module()))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-5, atol=1e-6)


def test_they_train():
    module = torch.export.export(model(torch), (torch.ones(5, 3),)).module()
    module(torch.ones(5, 3))[0].sum().backward()
    assert module.get_parameter("net.0.weight").grad.shape == (4, 3)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: x + torch.rand(2, generator=torch.Generator()), "from a generator of the program's own"),
        (lambda x: torch.poisson(x), "a value was needed.*poisson"),
    ],
    ids=["generator", "values"],
)
def test_what_cannot_be_drawn_again(function, message):
    class Module(torch.nn.Module):
        def forward(self, x):
            return function(x)

    with pytest.raises(RuntimeError, match=message):
        torch.export.export(Module(), (torch.ones(2),))
