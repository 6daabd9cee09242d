from agent.pipeline.presence import Presence

S = 10**9


def test_counts_go_out_once_they_have_held() -> None:
    presence = Presence(hold_s=0.5)
    assert presence.update({}, 0) == {}
    assert presence.update({}, int(0.99 * S)) is None
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


def test_somebody_is_there_however_their_number_flickers() -> None:
    presence = Presence(hold_s=0.5)
    presence.update({}, 0)
    told = [presence.update({"person": 1 + i % 2, "dog": i % 2}, i * S // 10) for i in range(1, 20)]
    assert [counts for counts in told if counts is not None] == [{"person": 1}]


def test_a_camera_of_one_frame_a_second_needs_two_of_them() -> None:
    presence = Presence(hold_s=0.5)
    told = [
        presence.update(counts, i * S) for i, counts in enumerate([{}, {"person": 1}, {}, {"person": 1}, {"person": 1}, {}, {}])
    ]
    assert told == [{}, None, None, None, {"person": 1}, None, {}]
