from agent.backoff import Backoff


def test_delays_double_up_to_the_cap_with_jitter() -> None:
    backoff = Backoff(0.5, 4.0)
    for full in (0.5, 1.0, 2.0, 4.0, 4.0, 4.0):
        assert full / 2 <= backoff.next_s() <= full


def test_the_first_try_may_come_at_once() -> None:
    backoff = Backoff(0.5, 4.0, at_once=True)
    assert backoff.next_s() == 0.0
    assert 0.25 <= backoff.next_s() <= 0.5
    backoff.reset()
    assert backoff.next_s() == 0.0


def test_a_thousand_tries_do_not_overflow() -> None:
    backoff = Backoff(0.5, 30.0)
    assert all(backoff.next_s() <= 30.0 for _ in range(2000))
