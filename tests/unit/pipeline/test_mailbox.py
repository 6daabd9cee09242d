import threading

from agent.pipeline.mailbox import Mailbox
from tests.frames import make_frame


def test_live_the_latest_wins_and_the_rest_are_counted() -> None:
    mailbox = Mailbox(live=True)
    for seq in range(5):
        mailbox.put(make_frame(seq))
    frame = mailbox.get(0)
    assert frame is not None
    assert (frame.seq, mailbox.frames_in, mailbox.frames_dropped) == (4, 5, 4)
    assert mailbox.get(0) is None


def test_frames_that_the_source_left_out_count_as_dropped() -> None:
    mailbox = Mailbox(live=True)
    mailbox.put(make_frame(0))
    mailbox.get(0)
    mailbox.put(make_frame(4))
    mailbox.get(0)
    assert (mailbox.frames_in, mailbox.frames_dropped) == (5, 3)


def test_unless_live_every_frame_is_taken() -> None:
    mailbox = Mailbox(live=False)

    def fill() -> None:
        for seq in range(50):
            mailbox.put(make_frame(seq))
        mailbox.end()

    source = threading.Thread(target=fill)
    source.start()
    taken = []
    while not mailbox.over:
        frame = mailbox.get(5)
        if frame is not None:
            taken.append(frame.seq)
    source.join()
    assert taken == list(range(50))
    assert mailbox.frames_dropped == 0


def test_the_end_frees_a_source_that_waits_and_keeps_the_last_frame() -> None:
    mailbox = Mailbox(live=False)
    mailbox.put(make_frame(0))
    waiting = threading.Thread(target=mailbox.put, args=(make_frame(1),))
    waiting.start()
    mailbox.end()
    waiting.join(5)
    assert not waiting.is_alive()
    assert not mailbox.over
    frame = mailbox.get(0)
    assert frame is not None
    assert frame.seq == 0
    assert mailbox.over


def test_what_is_given_back_comes_first_and_in_order() -> None:
    mailbox = Mailbox(live=True)
    for seq in (5, 6):
        mailbox.put(make_frame(seq))
        mailbox.get(0)
    mailbox.put(make_frame(7))
    dropped = mailbox.frames_dropped
    for seq in (6, 5):
        mailbox.give_back(make_frame(seq))
    mailbox.put(make_frame(8))
    mailbox.end()
    taken = []
    while not mailbox.over:
        assert mailbox.wait(0)
        frame = mailbox.get(0)
        assert frame is not None
        taken.append(frame.seq)
    assert taken == [5, 6, 8]
    assert not mailbox.wait(0)
    assert mailbox.frames_dropped == dropped + 1


def test_who_waits_for_a_frame_does_not_take_it() -> None:
    mailbox = Mailbox(live=True)
    assert not mailbox.wait(0)
    mailbox.put(make_frame(0))
    assert mailbox.wait(20)
    mailbox.put(make_frame(1))
    frame = mailbox.get(0)
    assert frame is not None
    assert frame.seq == 1
