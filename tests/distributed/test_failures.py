"""No rank outlives the failure of another by much, and the message says whose it was."""

from __future__ import annotations

import signal

import pytest

from . import launch

DEBUG = {"TORCH_DISTRIBUTED_DEBUG": "DETAIL"}


def fail(how: str, world_size: int = 2, **env):
    return launch.run("rank_failures.py", world_size, how, timeout=150, **env)


def assert_others_name(ranks, failed: int, within: float, text: str = "died"):
    end = ranks[failed].seconds
    for r, other in enumerate(ranks):
        if r != failed:
            assert other.code not in (0, None), other.out
            assert f"rank {failed}" in other.out and text in other.out, other.out
            assert other.seconds - end < within, (other.seconds, end)


def test_killed_rank():
    ranks = fail("killed", 3)
    assert ranks[1].code == -signal.SIGKILL
    assert_others_name(ranks, 1, 10)


def test_rank_that_raises():
    ranks = fail("raised")
    assert ranks[1].code == 1 and "broken on purpose" in ranks[1].out
    assert_others_name(ranks, 1, 10)


def test_mismatch_in_debug_mode():
    ranks = fail("kinds", **DEBUG)
    for r, rank in enumerate(ranks):
        assert rank.code == 1
        assert "Detected mismatch" in rank.out or f"rank {1 - r} died" in rank.out
    text = "".join(rank.out for rank in ranks)
    assert "all_reduce(torch.float32[4], RedOpType.SUM)" in text and "broadcast(torch.float32[4], 0)" in text


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed while idle", "killed while receiving", "exited", "terminated", "finished"])
def test_other_ends(how):
    ranks = fail(how, 3)
    code = {"exited": 3, "finished": None, "terminated": -signal.SIGTERM}.get(how, -signal.SIGKILL)
    if how == "finished":
        assert ranks[0].code and ranks[2].code  # the end of one of them may have ended the other
        assert "rank 1 has ended" in ranks[0].out + ranks[2].out, ranks
        assert max(r.seconds for r in ranks) - ranks[1].seconds < 20
        return
    assert ranks[1].code == code, ranks[1].out
    assert_others_name(ranks, 1, 12)


@pytest.mark.slow
def test_slow_ranks_are_waited_for():
    ranks = fail("slow", 3)
    assert all(r.code == 0 for r in ranks), ranks
    assert all("slept" in r.out for r in ranks[1:])


@pytest.mark.slow
def test_missing_rank_within_the_timeout():
    ranks = fail("missing", LIMIT="5")
    assert ranks[0].code == 1 and ranks[0].seconds < 40, ranks[0].out


@pytest.mark.slow
def test_shapes_in_debug_mode():
    ranks = fail("shapes", **DEBUG)
    assert any("torch.float32[4]" in r.out and "torch.float32[5]" in r.out for r in ranks), ranks


@pytest.mark.slow
def test_monitored_barrier_names_the_missing():
    ranks = fail("monitored", 3)
    assert ranks[0].code == 1 and "Ranks 1, 2 failed to pass monitoredBarrier in 1000 ms" in ranks[0].out, ranks
