from agent.pipeline.presence import Presence

S = 10**9


def test_counts_go_out_once_they_have_held() -> None:
    presence = Presence(hold_s=0.5)
    assert presence.update({}, 0) == {}
    assert presence.update({"person": 1}, 1 * S) is None
    assert presence.update({"person": 1}, int(1.4 * S)) is None
    assert presence.update({"person": 1}, int(1.5 * S)) == {"person": 1}
    assert presence.update({"person": 1}, 2 * S) is None


def test_flicker_is_not_told() -> None:
    presence = Presence(hold_s=0.5)
    presence.update({"person": 1}, 0)
    for i in range(20):
        assert presence.update({} if i % 2 else {"person": 1}, i * S // 10) is None


def test_after_a_loss_the_first_counts_go_out_at_once() -> None:
    presence = Presence(hold_s=0.5)
    presence.update({"person": 1}, 0)
    presence.forget()
    assert presence.update({"person": 1}, 1) == {"person": 1}
