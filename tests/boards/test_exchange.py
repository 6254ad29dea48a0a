"""Which answers are believed, against a board and a line that a random program makes up."""

import random

import pytest

from xnorweave.boards.exchange import Exchange, SequenceNumbers
from xnorweave.boards.packets import Result
from xnorweave.errors import DeviceError


def exchange(frames: int, window: int = 4, tries: int = 3, first: int = 0) -> Exchange:
    return Exchange(frames, window=window, tries=tries, sequence=SequenceNumbers(first))


def drain(traffic: Exchange) -> list[tuple[int, int]]:
    return list(iter(traffic.next, None))


def result(frame: int) -> Result:
    return Result(word=frame, cycles=1)


def words(traffic: Exchange) -> list[int | None]:
    return [None if found is None else found.word for found in traffic.results]


def test_so_many_go_ahead_as_fit() -> None:
    traffic = exchange(6, window=3, first=254)
    assert drain(traffic) == [(254, 0), (255, 1), (0, 2)]
    assert traffic.take_result(254, result(0))
    assert drain(traffic) == [(1, 3)]


def test_a_result_of_a_later_frame_tells_that_an_earlier_one_is_lost() -> None:
    traffic = exchange(4)
    drain(traffic)
    assert traffic.take_result(1, result(1))
    assert drain(traffic) == [(4, 0)]
    # The number of the lost one means nothing any more.
    assert not traffic.take_result(0, result(99))
    assert words(traffic) == [None, 1, None, None]
    for number, frame in ((2, 2), (3, 3), (4, 0)):
        assert traffic.take_result(number, result(frame))
    assert traffic.is_done
    assert (words(traffic), traffic.sent_again, traffic.ignored) == ([0, 1, 2, 3], 1, 1)


def test_a_late_answer_is_taken_and_its_copies_are_not() -> None:
    traffic = exchange(2)
    drain(traffic)
    traffic.give_up_waiting()
    assert drain(traffic) == [(2, 0), (3, 1)]
    assert traffic.take_result(0, result(0))
    for number in (0, 2):
        assert not traffic.take_result(number, result(77))
    assert traffic.take_result(3, result(1))
    assert words(traffic) == [0, 1]


def test_after_a_reset_no_answer_from_before_it_is_taken() -> None:
    traffic = exchange(2)
    drain(traffic)
    traffic.forget()
    assert not traffic.take_result(0, result(5))
    assert not traffic.is_ours(1)
    assert drain(traffic) == [(2, 0), (3, 1)]


def test_a_refused_frame_goes_again_and_costs_no_try() -> None:
    traffic = exchange(1, tries=1)
    for number in range(20):
        assert drain(traffic) == [(number, 0)]
        assert traffic.take_refusal(number)
        assert not traffic.take_refusal(number)
    # The line doubled the packet: one copy was taken, the other found no room.
    assert traffic.take_result(19, result(0))
    assert traffic.next() is None


def test_a_number_that_may_still_be_answered_is_not_used_again() -> None:
    traffic = exchange(300, window=64, tries=9)
    sent = []
    while not traffic.exhausted:
        sent += drain(traffic)
        traffic.give_up_waiting()
    assert len(sent) == 256
    assert traffic.next() is None
    traffic.forget()
    assert traffic.next() == (0, 0)


def test_tries_end() -> None:
    traffic = exchange(2, tries=2)
    for _ in range(2):
        drain(traffic)
        traffic.give_up_waiting()
    with pytest.raises(DeviceError, match=r"frame 0: no answer that is whole in 2 tries; check cable and baud rate"):
        traffic.next()


@pytest.mark.parametrize("seed", range(20))
def test_no_line_that_keeps_order_gives_a_wrong_answer(seed: int) -> None:
    """Packets and answers get lost, doubled and refused at random; the host is impatient at random."""
    draw = random.Random(seed)
    traffic = exchange(400, window=draw.choice([1, 3, 64]), tries=1000, first=seed * 13)
    there: list[tuple[int, int]] = []
    held: list[tuple[int, int]] = []
    back: list[tuple[bool, int, int]] = []
    haste = draw.choice([0.01, 0.3])  # with much of it numbers come round while their answers are under way
    for _ in range(100_000):
        if traffic.is_done:
            break
        match draw.choice([0, 0, 0, 0, 1, 2, 3, 4]):
            case 0 if (sent := traffic.next()) is not None:
                there += [sent] * draw.choice([0, 1, 1, 1, 2])
            case 1 if there:
                if draw.random() < 0.8:
                    held.append(there.pop(0))
                else:
                    back.append((False, *there.pop(0)))  # before the results of what is held
            case 2 if held:
                back += [(True, *held.pop(0))] * draw.choice([0, 1, 1, 1, 2])
            case 3 if back:
                taken, number, frame = back.pop(0)
                _ = traffic.take_result(number, result(frame)) if taken else traffic.take_refusal(number)
            case 4 if not (there or held or back) or draw.random() < haste:
                traffic.give_up_waiting()
                if traffic.exhausted or draw.random() < 0.02:
                    there, held, back = [], [], []
                    traffic.forget()
    assert words(traffic) == list(range(400)), f"seed {seed}"
