"""What an exploration tries: a candidate, its canonical JSON, and the keys under which results are kept."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Candidate", "Space", "build_key", "canonical_json", "content_digest", "estimate_key"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to build a network.

    Parameters
    ----------
    network : str
        SHA-256 of the network's file content, in hexadecimal.
    board : str
        Name in the catalogue.
    strategy : str
        How results are shared.
    clock_mhz : float, optional
        Of the core; the board's own where absent.
    interval_cycles : int, optional
        Most cycles from frame to frame; the fewest that fit where absent.
    seed : int
        Of placement.
    """

    network: str
    board: str
    strategy: str
    clock_mhz: float | None
    interval_cycles: int | None
    seed: int

    def document(self) -> dict[str, Any]:
        """Every field, as JSON has them."""
        return asdict(self)

    def design(self) -> dict[str, Any]:
        """Every field but the seed, on which neither the plan nor an estimate depends."""
        return {name: value for name, value in self.document().items() if name != "seed"}


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is swept.

    Parameters
    ----------
    networks, boards, strategies, clocks_mhz, seeds
        Values of the fields of `Candidate`.
    """

    networks: tuple[str, ...]
    boards: tuple[str, ...]
    strategies: tuple[str, ...]
    clocks_mhz: tuple[float | None, ...]
    seeds: tuple[int, ...]

    def candidates(self, intervals: Callable[[str, float | None], tuple[int | None, ...]]) -> Iterator[Candidate]:
        """Every candidate once, always in the same order; ``intervals`` gives those of a board and a clock."""
        settings = itertools.product(self.boards, self.networks, self.clocks_mhz)
        for board, network, clock_mhz in settings:
            rest = itertools.product(intervals(board, clock_mhz), self.strategies, self.seeds)
            for interval_cycles, strategy, seed in rest:
                yield Candidate(
                    network=network,
                    board=board,
                    strategy=strategy,
                    clock_mhz=clock_mhz,
                    interval_cycles=interval_cycles,
                    seed=seed,
                )


def canonical_json(value: object) -> str:
    """JSON that is the same text for equal values: keys in order, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_digest(*parts: object) -> str:
    """SHA-256 of the canonical JSON of ``parts``, in hexadecimal."""
    return hashlib.sha256(canonical_json(parts).encode("ascii")).hexdigest()


def estimate_key(candidate: Candidate, versions: Mapping[str, str]) -> str:
    """Key of an estimate by the cost model of these versions: the same for every seed."""
    return content_digest("estimate", candidate.design(), dict(versions))


def build_key(candidate: Candidate, versions: Mapping[str, str]) -> str:
    """Key of a build by the tools of these versions."""
    return content_digest("build", candidate.document(), dict(versions))
