import pytest

from xnorweave.hw.lanes import Packer, Replay, Unpacker


def chunks(items, size, fill=None):
    rows = [items[k : k + size] for k in range(0, len(items), size)]
    if fill is not None:
        rows[-1] = rows[-1] + [fill] * (size - len(rows[-1]))
    return rows


def join(words, bits):
    return sum(word << k * bits for k, word in enumerate(words))


@pytest.mark.parametrize(("factor", "words"), [(2, 6), (3, 7), (4, 4), (5, 3), (2, 1)])
def test_packer(factor, words, pace, stream, rng):
    frames = rng.integers(0, 8, (4, words)).tolist()
    want = [[join(row, 3) for row in chunks(frame, factor, fill=0)] for frame in frames]
    result = stream(Packer(word_bits=3, factor=factor, words=words), frames, len(want[0]), pace)
    assert result.outputs == want
    if pace == (0.0, 0.0):
        assert result.interval_cycles == words


@pytest.mark.parametrize(("factor", "words"), [(2, 6), (3, 7), (4, 4), (5, 3), (2, 1)])
def test_unpacker(factor, words, pace, stream, rng):
    frames = rng.integers(0, 8, (4, words)).tolist()
    sent = [[join(row, 3) for row in chunks(frame, factor, fill=5)] for frame in frames]
    result = stream(Unpacker(word_bits=3, factor=factor, words=words), sent, words, pace)
    assert result.outputs == frames
    if pace == (0.0, 0.0):
        assert result.interval_cycles == words


@pytest.mark.parametrize(("words", "repeats"), [(5, 3), (4, 1), (1, 4), (1, 1), (8, 2)])
def test_replay(words, repeats, pace, stream, rng):
    frames = rng.integers(0, 16, (5, words)).tolist()
    result = stream(Replay(word_bits=4, words=words, repeats=repeats), frames, words * repeats, pace)
    assert result.outputs == [frame * repeats for frame in frames]
    if pace == (0.0, 0.0):
        assert result.interval_cycles == words * repeats


def test_replay_takes_the_next_vector_meanwhile(stream, rng):
    frames = rng.integers(0, 16, (4, 6)).tolist()
    result = stream(Replay(word_bits=4, words=6, repeats=3), frames, 18)
    assert result.cycles <= 6 + 2 + 4 * 18


@pytest.mark.parametrize("unit", [Packer, Unpacker])
@pytest.mark.parametrize(("factor", "words"), [(1, 4), (2, 0)])
def test_converters_refuse(unit, factor, words):
    with pytest.raises(ValueError, match="factor of at least 2"):
        unit(word_bits=1, factor=factor, words=words)


def test_replay_refuses_nothing_to_do():
    with pytest.raises(ValueError, match="a word and a repeat, not 0 and 1"):
        Replay(word_bits=1, words=0, repeats=1)
