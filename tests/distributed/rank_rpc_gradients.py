"""Backward through calls: the gradients of the same model on one worker."""

import os
import time

import jtorch as torch
from jtorch import nn
from jtorch.distributed import autograd, rpc
from jtorch.distributed.nn import RemoteModule
from jtorch.distributed.optim import DistributedOptimizer
from tests.distributed.launch import refused


class Layer(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x).tanh()

    def gradient(self, context_id):
        return autograd.get_gradients(context_id)[self.linear.weight]


def scaled(x, w):
    return x * w


def through(to, x, w):  # a call inside a call
    return rpc.rpc_sync(to, scaled, args=(x, w)) + rpc.rpc_sync(to, scaled, args=(x, x))


def contexts():
    from jtorch.distributed.rpc import history

    return len(history._contexts)


def calls():
    x, w = torch.arange(3.0, requires_grad=True), torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    ((x * w + x * x).sum() + w.sum()).backward()
    expected, x.grad, w.grad = (x.grad, w.grad), None, None
    for to in ("worker1", "worker0"):
        with autograd.context() as context_id:
            assert to == "worker0" or rpc.rpc_sync(to, scaled, args=(x, w)).grad_fn is not None
            y = rpc.rpc_sync(to, through, args=("worker2", x, w))
            autograd.backward(context_id, [y.sum(), w.sum()])
            found = autograd.get_gradients(context_id)
            assert found[x].tolist() == expected[0].tolist() and found[w].tolist() == expected[1].tolist()
            assert x.grad is None and w.grad is None
            refused(autograd.context().__enter__, RuntimeError, "Already have an autograd context id")
            refused(lambda: autograd.backward(context_id, [y]), RuntimeError, "not a scalar")  # noqa: B023
            refused(lambda: autograd.backward(context_id, []), RuntimeError, "No tensors provided")  # noqa: B023
            refused(lambda: autograd.backward(context_id, [torch.ones(())]), RuntimeError, "requires_grad not set")  # noqa: B023
    refused(lambda: autograd.get_gradients(context_id), RuntimeError, "Could not find autograd context")
    assert rpc.rpc_sync("worker1", scaled, args=(x, w)).grad_fn is None


def training():
    """Two modules in two workers and a layer here, two micro-batches a step, against all of it here."""
    model = nn.Sequential(Layer(1), nn.Linear(3, 3), Layer(2))
    here = nn.Linear(3, 3)
    here.load_state_dict(model[1].state_dict())
    batches = torch.arange(12.0).reshape(2, 2, 3) / 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = sum(model(b).pow(2).mean() for b in batches)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    first, last = RemoteModule("worker1/cpu", Layer, (1,)), RemoteModule("rank:2", Layer, kwargs={"seed": 2})
    parameters = first.remote_parameters() + last.remote_parameters() + [rpc.RRef(p) for p in here.parameters()]
    optimizer = DistributedOptimizer(torch.optim.SGD, parameters, lr=0.1, momentum=0.9)
    for expected in losses:
        with autograd.context() as context_id:
            waiting = [first.forward_async(b) for b in batches]
            loss = sum(last(here(h.wait())).pow(2).mean() for h in waiting)
            autograd.backward(context_id, [loss])
            assert first.get_module_rref().rpc_sync().gradient(context_id).shape == (3, 3)
            optimizer.step(context_id)
        torch.testing.assert_close(loss.item(), expected)
    assert here.weight.grad is None
    torch.testing.assert_close(here.weight, model[1].weight)
    again = rpc.rpc_sync("worker1", RemoteModule.init_from_module_rref, ("worker1", first.get_module_rref()))
    torch.testing.assert_close(again.eval()(batches[0]), model[0](batches[0]).detach())
    refused(first.parameters, ValueError, "Please use ``remote_parameters`` instead")
    refused(first.state_dict, ValueError, "Method ``state_dict`` not supported for RemoteModule")
    refused(lambda: RemoteModule("a/b/c", nn.Identity), ValueError, "Could not parse remote_device: a/b/c")
    refused(lambda: RemoteModule("worker1", dict).module_rref.to_here(), ValueError, "returns an instance of <class")


rank = int(os.environ["RANK"])
rpc.init_rpc(f"worker{rank}", rank=rank, world_size=int(os.environ["WORLD_SIZE"]))
if rank == 0:
    calls()
    training()
    end = time.monotonic() + 20
    while any(rpc.rpc_sync(w, contexts) for w in range(3)):  # the news that one is over is not waited for
        assert time.monotonic() < end, "contexts are kept"
        time.sleep(0.05)
rpc.shutdown()
print(f"rank {rank}: done")
