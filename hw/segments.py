"""Pipeline segments: which operands of a graph are computed between the same two registers."""

__all__ = ["asap_segments", "check_segments"]


def asap_segments(inputs: int, operations, levels_per_register: int) -> tuple[int, ...]:
    """Earliest pipeline segment of each operand; operand 0 and the inputs are in segment 0.

    Parameters
    ----------
    inputs : int
        Number of inputs.
    operations : iterable
        Each other operand as (its number, operands that it takes, levels that it adds), in order, as
        `hw.adder_graph.operations` gives them.
    levels_per_register : int
        Levels in a row between two registers. A node of more levels than that has a segment of its own.
    """
    segments, depth = [0] * (inputs + 1), [0] * (inputs + 1)
    for _, sources, levels in operations:
        segment, used = _arrival(segments, depth, sources)
        if used and used + levels > levels_per_register:
            segment, used = segment + 1, 0
        segments.append(segment)
        depth.append(used + levels)
    return tuple(segments)


def check_segments(segments: tuple[int, ...], inputs: int, operations, levels_per_register: int) -> None:
    """Refuse segments in which an operand is late, or a path between registers is too long.

    Parameters
    ----------
    segments : tuple of int
        Pipeline segment of each operand.
    inputs, operations, levels_per_register
        As for `asap_segments`.

    Raises
    ------
    ValueError
        Naming the operand and its segment.
    """
    operations = list(operations)
    if len(segments) != (operands := inputs + 1 + len(operations)):
        raise ValueError(f"Segments are needed for {operands} operands, not for {len(segments)}")
    for operand, segment in enumerate(segments):
        if not isinstance(segment, int):
            raise ValueError(f"Operand {operand} is in segment {segment!r}, which is no whole number")
        if operand <= inputs and segment != 0:
            raise ValueError(f"Operand {operand} is an input and in segment 0, not {segment!r}")
    depth = [0] * (inputs + 1)
    for operand, sources, levels in operations:
        arrival, used = _arrival(segments, depth, sources)
        if segments[operand] < arrival:
            raise ValueError(f"Operand {operand} is in segment {segments[operand]!r}, before a source's, {arrival}")
        if segments[operand] > arrival:
            used = 0
        if used and used + levels > levels_per_register:
            raise ValueError(
                f"Operand {operand} ends a path of {used + levels} levels within segment {segments[operand]!r}; at "
                f"most {levels_per_register} are allowed"
            )
        depth.append(used + levels)


def _arrival(segments, depth, sources) -> tuple[int, int]:
    """Segment in which the last of the sources comes, and how many levels deep it is there."""
    return max(((segments[s], depth[s]) for s in sources if s), default=(0, 0))
