"""Compiled loops of `xnorweave.passes.cse`: greedy two-term common subexpressions without a table of pairs.

Compiled with numba: interpreted, a layer takes hours. Both loops keep one best older partner for each token in a
bucket queue. How often a pair of tokens still occurs can only fall, so a stale entry is an upper bound: it is counted
again when it comes up, and memory grows with the tokens, not with their square.
"""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["merge_classes", "merge_rows", "merge_rows_cost"]


@intrinsic
def _popcount(typing_context, word):
    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@njit(cache=True, nogil=True)
def _push(head, following, count, token):
    following[token] = head[count]
    head[count] = token


@njit(cache=True, nogil=True)
def _common(bits, a, b):
    count = 0
    for word in range(bits.shape[1]):
        count += _popcount(bits[a, word] & bits[b, word])  # pyright: ignore[reportCallIssue]
    return count


@njit(cache=True, nogil=True)
def _best_row(bits, weight, token):
    """Older token with the most outputs in common with ``token``: (count, partner); ties to the lighter one."""
    count, partner = 1, -1
    for other in range(token):
        if weight[other] < count or weight[other] < 2:
            continue
        common = _common(bits, token, other)
        lighter = common == count and partner >= 0 and weight[other] < weight[partner]
        if common > count or lighter:
            count, partner = common, other
    return count, partner


@njit(cache=True, nogil=True)
def _queue_row(bits, weight, head, following, partner, token):
    """Find a token's best partner, and put the token where its turn is."""
    count, partner[token] = _best_row(bits, weight, token)
    if partner[token] >= 0:
        _push(head, following, count, token)


@njit(cache=True, nogil=True)
def _join_rows(bits, weight, token, other, new):
    """Let ``new`` take over the outputs that two tokens have in common."""
    for word in range(bits.shape[1]):
        both = bits[token, word] & bits[other, word]
        bits[new, word] = both
        bits[token, word] ^= both
        bits[other, word] ^= both
        weight[new] += _popcount(both)  # pyright: ignore[reportCallIssue]
    weight[token] -= weight[new]
    weight[other] -= weight[new]


@njit(cache=True, nogil=True)
def merge_rows(bits, rows):
    """Share pairs of tokens that several outputs add up.

    Parameters
    ----------
    bits : uint64 array [capacity, words]
        Outputs that each token goes into; changed in place, new tokens behind the first ``rows``.
    rows : int
        Tokens at the start.

    Returns
    -------
    lhs, rhs : int arrays
        Token ``rows + k`` is the sum of ``lhs[k]`` and ``rhs[k]``.
    """
    capacity, words = bits.shape
    weight = np.zeros(capacity, np.int64)
    for token in range(rows):
        for word in range(words):
            weight[token] += _popcount(bits[token, word])  # pyright: ignore[reportCallIssue]
    head, following = np.full(64 * words + 1, -1, np.int64), np.full(capacity, -1, np.int64)
    partner = np.full(capacity, -1, np.int64)
    lhs, rhs = np.zeros(capacity - rows, np.int64), np.zeros(capacity - rows, np.int64)
    for token in range(rows):
        _queue_row(bits, weight, head, following, partner, token)
    tokens, current = rows, 64 * words
    while current >= 2:
        token = head[current]
        if token < 0:
            current -= 1
            continue
        head[current] = following[token]
        if _common(bits, token, partner[token]) != current:
            _queue_row(bits, weight, head, following, partner, token)
            continue
        new = tokens
        lhs[new - rows], rhs[new - rows] = token, partner[token]
        _join_rows(bits, weight, token, partner[token], new)
        tokens += 1
        _queue_row(bits, weight, head, following, partner, token)
        _queue_row(bits, weight, head, following, partner, new)
    return lhs[: tokens - rows], rhs[: tokens - rows]


@njit(cache=True, nogil=True)
def _width(value):
    bits = 0
    while value:
        value >>= 1
        bits += 1
    return bits


@njit(cache=True, nogil=True)
def _tree_cost(highs, costs):
    """Cost of the adders of a balanced tree that joins the narrowest operands first, as `GraphBuilder.tree` does."""
    cost, level = 0.0, np.sort(highs)
    while len(level) > 1:
        pairs = len(level) // 2
        following = np.zeros(len(level) - pairs, np.int64)
        for k in range(pairs):
            following[k] = level[2 * k] + level[2 * k + 1]
            cost += costs[_width(level[2 * k + 1]), _width(following[k])]
        if len(level) % 2:
            following[pairs] = level[-1]
        level = np.sort(following)
    return cost


@njit(cache=True, nogil=True)
def merge_rows_cost(bits, rows, outputs, highs, costs):
    """Cost of the adders of ``outputs`` sums by way of `merge_rows`.

    Parameters
    ----------
    bits, rows
        As for `merge_rows`.
    outputs : int
        Sums.
    highs : int64 array [rows]
        Highest value of each token at the start; the lowest is 0.
    costs : float array [widths, widths]
        Cost of an adder by the widths of its wider operand and of its result, in bits.
    """
    lhs, rhs = merge_rows(bits, rows)
    tokens = rows + len(lhs)
    high = np.zeros(tokens, np.int64)
    high[:rows] = highs
    cost = 0.0
    for k in range(len(lhs)):
        high[rows + k] = high[lhs[k]] + high[rhs[k]]
        cost += costs[_width(max(high[lhs[k]], high[rhs[k]])), _width(high[rows + k])]
    terms = np.zeros(tokens, np.int64)
    for output in range(outputs):
        count = 0
        for token in range(tokens):
            if bits[token, output >> 6] >> np.uint64(output & 63) & np.uint64(1):
                terms[count] = high[token]
                count += 1
        cost += _tree_cost(terms[:count], costs)
    return cost


@njit(cache=True, nogil=True)
def _agreement(codes, a, b):
    """Blocks where two tokens are in one class with like signs, and with opposite signs."""
    same, opposite = 0, 0
    for block in range(codes.shape[1]):
        code = codes[a, block]
        if code != 0:
            same += code == codes[b, block]
            opposite += code == -codes[b, block]
    return same, opposite


@njit(cache=True, nogil=True)
def _best_member(codes, first, size, member, token, same, opposite):
    """Older token that shares most classes with ``token``: (count, partner, sign)."""
    touched = np.empty(64, np.int64)
    found = 0
    count, partner, sign = 1, -1, 1
    for block in range(codes.shape[1]):
        code = codes[token, block]
        if code == 0:
            continue
        for k in range(first[abs(code)], first[abs(code)] + size[abs(code)]):
            other = member[k]
            if other >= token:
                continue
            if same[other] + opposite[other] == 0:
                if found == len(touched):
                    touched = np.concatenate((touched, np.empty(found, np.int64)))
                touched[found] = other
                found += 1
            if codes[other, block] == code:
                same[other] += 1
            else:
                opposite[other] += 1
    for k in range(found):
        other = touched[k]
        common = max(same[other], opposite[other])
        if common > count:
            count, partner = common, other
            sign = 1 if same[other] >= opposite[other] else -1
    for k in range(found):
        same[touched[k]] = 0
        opposite[touched[k]] = 0
    return count, partner, sign


@njit(cache=True, nogil=True)
def _replace(first, size, member, code, a, b, new):
    """Put ``new`` in the place of two members of a class."""
    end = first[code] + size[code]
    for k in range(first[code], end):
        if member[k] == a:
            member[k] = new
            break
    for k in range(first[code], end):
        if member[k] == b:
            member[k] = member[end - 1]
            break
    size[code] -= 1


@njit(cache=True, nogil=True)
def _index(codes, rows, classes):
    """Members of each class as one array: (first, size, member)."""
    size = np.zeros(classes + 1, np.int64)
    for token in range(rows):
        for block in range(codes.shape[1]):
            size[abs(codes[token, block])] += 1
    first = np.zeros(classes + 1, np.int64)
    for k in range(1, classes + 1):
        first[k] = first[k - 1] + size[k - 1]
    member, fill = np.zeros(rows * codes.shape[1], np.int64), first.copy()
    for token in range(rows):
        for block in range(codes.shape[1]):
            code = abs(codes[token, block])
            member[fill[code]] = token
            fill[code] += 1
    return first, size, member


@njit(cache=True, nogil=True)
def _join_members(codes, index, token, other, sign, new):
    """Let ``new`` take the place of two tokens in the classes that both are in with these signs."""
    first, size, member = index
    for block in range(codes.shape[1]):
        code = codes[token, block]
        if code != 0 and code == sign * codes[other, block]:
            codes[new, block] = code
            codes[token, block] = codes[other, block] = 0
            _replace(first, size, member, abs(code), token, other, new)


@njit(cache=True, nogil=True)
def _queue_member(codes, index, scratch, queue, found, token):
    """Find a token's best partner and sign, and put the token where its turn is."""
    (first, size, member), (same, opposite) = index, scratch
    (head, following), (partner, sign) = queue, found
    count, partner[token], sign[token] = _best_member(codes, first, size, member, token, same, opposite)
    if partner[token] >= 0:
        _push(head, following, count, token)


@njit(cache=True, nogil=True)
def merge_classes(codes, rows, classes):
    """Share signed pairs of tokens that are in one class in several blocks.

    Parameters
    ----------
    codes : int32 array [capacity, blocks]
        Class of each token in each block, from 1, negative where it is subtracted there, 0 where it is absent; changed
        in place, new tokens behind the first ``rows``.
    rows, classes : int
        Tokens at the start, and classes of all blocks.

    Returns
    -------
    lhs, rhs, sign : int arrays
        Token ``rows + k`` is ``lhs[k] + sign[k] * rhs[k]``.
    """
    capacity, blocks = codes.shape
    index = _index(codes, rows, classes)
    scratch = np.zeros(capacity, np.int32), np.zeros(capacity, np.int32)
    head, following = np.full(blocks + 1, -1, np.int64), np.full(capacity, -1, np.int64)
    partner, signs = np.full(capacity, -1, np.int64), np.ones(capacity, np.int64)
    queue, found = (head, following), (partner, signs)
    lhs, rhs = np.zeros(capacity - rows, np.int64), np.zeros(capacity - rows, np.int64)
    sign = np.ones(capacity - rows, np.int64)
    for token in range(rows):
        _queue_member(codes, index, scratch, queue, found, token)
    tokens, current = rows, blocks
    while current >= 2:
        token = head[current]
        if token < 0:
            current -= 1
            continue
        head[current] = following[token]
        alike, unlike = _agreement(codes, token, partner[token])
        if (alike if signs[token] > 0 else unlike) != current:
            _queue_member(codes, index, scratch, queue, found, token)
            continue
        new = tokens
        lhs[new - rows], rhs[new - rows], sign[new - rows] = token, partner[token], signs[token]
        _join_members(codes, index, token, partner[token], signs[token], new)
        tokens += 1
        _queue_member(codes, index, scratch, queue, found, token)
        _queue_member(codes, index, scratch, queue, found, new)
    made = tokens - rows
    return lhs[:made], rhs[:made], sign[:made]
