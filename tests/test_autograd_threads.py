"""Forward and backward on several threads at once: shared leaves get the right sums, and nobody waits for ever."""

import faulthandler
import sys
import threading

import pytest

import jtorch as torch


@pytest.fixture(autouse=True)
def often_switched():
    """Threads take turns every few instructions; a deadlock ends the process with every thread's stack."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    sys.setswitchinterval(before)


def at_once(n, work):
    """``work(k)`` for k < n, each on a thread of its own; raises what one of them raised."""
    errors, start = [], threading.Barrier(n)

    def run(k):
        try:
            start.wait()
            work(k)
        except BaseException as error:  # noqa: BLE001 (handed on below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("read", [False, True])
def test_leaves_sum_what_all_threads_bring(read):
    first, second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    parameters = [*first.parameters(), *second.parameters()]
    x = torch.randn(4, 8)

    def loss():
        return second(torch.tanh(first(x))).sum()

    once = torch.autograd.grad(loss(), parameters)
    for _ in range(3):
        for p in parameters:
            p.grad = None

        def work(k):
            for i in range(6):
                loss().backward()
                if read and i % 3 == k % 3:
                    _ = [p.grad.sum().item() for p in parameters]

        at_once(4, work)
        for p, g in zip(parameters, once, strict=True):
            torch.testing.assert_close(p.grad, 24 * g, rtol=1e-4, atol=1e-5)


def test_threads_that_read_each_others_pending_results_do_not_wait_for_each_other():
    box = [torch.ones(4) for _ in range(3)]

    def work(k):
        for _ in range(40):
            box[k] = box[(k + 1) % 3] * 0.5 + box[(k + 2) % 3] * 0.5

    at_once(3, work)
    assert [b.tolist() for b in box] == [[1.0] * 4] * 3


def test_one_graph_walked_by_several_threads():
    x = torch.randn(5, 5, requires_grad=True)
    loss = ((x + 3) * (x + 4) * 0.5).sum()
    at_once(8, lambda k: loss.backward(retain_graph=True))
    torch.testing.assert_close(x.grad, 8 * (x.detach() + 3.5))


def test_hooks_after_accumulation_run_one_at_a_time():
    x = torch.ones(3, requires_grad=True)
    seen = []

    def take(leaf):  # as an optimizer that steps within backward does
        seen.append(leaf.grad.sum().item())
        leaf.grad = None

    x.register_post_accumulate_grad_hook(take)
    at_once(4, lambda k: [(x * 2).sum().backward() for _ in range(5)])
    assert seen == [6.0] * 20
