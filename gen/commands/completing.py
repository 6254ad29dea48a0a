"""Words that a shell may complete an argument or an option with; files are its own.

A user waits for each of them: a function loads what it needs alone.
"""

__all__ = ["board_list", "boards", "networks", "networks_and_presets", "presets"]


def networks(incomplete: str) -> list[str]:
    """Shipped networks."""
    from xnorweave.commands.source import shipped_networks

    return [word for word in shipped_networks() if word.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Presets of `train`."""
    from xnorweave.training.presets import PRESETS

    return [word for word in PRESETS if word.startswith(incomplete)]


def networks_and_presets(incomplete: str) -> list[str]:
    """What `explore` takes."""
    return networks(incomplete) + presets(incomplete)


def boards(incomplete: str) -> list[str]:
    """Boards of the catalogue."""
    from xnorweave.boards.catalogue import boards as all_boards

    return [board.name for board in all_boards() if board.name.startswith(incomplete)]


def board_list(incomplete: str) -> list[str]:
    """Boards with commas between them: the last one is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in boards(last)]
