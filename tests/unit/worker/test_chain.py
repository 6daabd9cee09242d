"""When a model moves down its chain of delegates, and up again."""

import pytest

from agent.worker.chain import ChainPolicy, DelegateChain

POLICY = ChainPolicy(strikes=3, within_s=600, clean_s=600)


@pytest.fixture
def chain() -> DelegateChain:
    """Of three rungs, the first of which serves since 0."""
    chain = DelegateChain(3, POLICY)
    chain.serves(0, 0.0)
    return chain


def fails(chain: DelegateChain, now: float) -> bool:
    """Whether a failure moves the model down."""
    before = chain.first
    chain.struck(now)
    return chain.first != before


def strike(chain: DelegateChain, *times: float) -> list[bool]:
    """Failures of the worker, each of which serves again on the first rung that is left."""
    moved = []
    for now in times:
        moved.append(fails(chain, now))
        chain.serves(chain.first, now + 1)
    return moved


def test_three_strikes_within_ten_minutes_move_down(chain: DelegateChain) -> None:
    assert strike(chain, 10, 20, 609) == [False, False, True]
    assert chain.first == 1


def test_strikes_farther_apart_do_not(chain: DelegateChain) -> None:
    assert strike(chain, 10, 300, 611, 900) == [False] * 4
    assert strike(chain, 905) == [True]  # with those of 611 and 900


def test_ten_clean_minutes_forget_strikes() -> None:
    chain = DelegateChain(3, ChainPolicy(strikes=3, within_s=10_000, clean_s=600))
    chain.serves(0, 0.0)
    assert strike(chain, 10, 20, 621, 630) == [False] * 4  # it served from 21 on
    assert strike(chain, 640) == [True]


def test_each_rung_gets_its_own_three(chain: DelegateChain) -> None:
    assert strike(chain, 1, 2, 3, 4, 5, 6) == [False, False, True, False, False, True]
    assert chain.first == 2


def test_the_last_rung_is_kept_for_ever(chain: DelegateChain) -> None:
    strike(chain, *range(6))
    assert strike(chain, *range(10, 30)) == [False] * 20
    assert chain.first == 2


def test_what_really_served_is_left_behind(chain: DelegateChain) -> None:
    chain.serves(1, 0.0)  # 0 was not to be had
    for now in (1, 2):
        chain.struck(now)
        chain.serves(1, now)
    assert fails(chain, 3)
    assert chain.first == 2


def test_failures_while_loading_count_against_the_first_that_is_left() -> None:
    chain = DelegateChain(3, POLICY)
    assert [fails(chain, now) for now in (1, 2, 3, 4, 5, 6, 7)] == [False, False, True, False, False, True, False]


def test_the_way_up_is_due_after_ten_clean_minutes(chain: DelegateChain) -> None:
    strike(chain, 1, 2, 3)
    assert not chain.due_up(603)
    assert chain.due_up(604)  # it serves since 4
    strike(chain, 300)
    assert not chain.due_up(604)
    assert chain.due_up(901)


def test_it_is_due_too_where_the_best_was_not_to_be_had() -> None:
    chain = DelegateChain(3, POLICY)
    chain.serves(1, 0.0)
    assert not chain.due_up(599)
    assert chain.due_up(600)


def test_it_is_not_due_on_the_best_nor_without_a_worker(chain: DelegateChain) -> None:
    assert not chain.due_up(10_000)
    strike(chain, 1, 2)
    chain.struck(3)
    assert not chain.due_up(10_000)


def test_each_try_in_vain_doubles_the_time_to_the_next(chain: DelegateChain) -> None:
    strike(chain, 1, 2, 3)
    now = 604.0
    for pause in (1200, 2400, 4800, 7200, 7200):
        chain.tried_up(now)
        assert not chain.due_up(now + pause - 1)
        now += pause
        assert chain.due_up(now)


def test_a_move_starts_that_over(chain: DelegateChain) -> None:
    strike(chain, 1, 2, 3)
    chain.tried_up(604)
    strike(chain, 605, 606, 607)  # down again
    assert chain.due_up(1208)
    chain.tried_up(1208)
    chain.start_over()
    chain.serves(1, 1300)
    assert chain.due_up(1900)


def test_a_slow_restart_is_not_clean() -> None:
    chain = DelegateChain(3, ChainPolicy(strikes=3, within_s=10_000, clean_s=600))
    assert [fails(chain, now) for now in (0, 1000, 2000)] == [False, False, True]


def test_starting_over_forgets_everything(chain: DelegateChain) -> None:
    strike(chain, 1, 2, 3, 4, 5)
    chain.start_over()
    assert chain.first == 0
    assert strike(chain, 6) == [False]
