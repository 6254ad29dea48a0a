"""What an exploration would try: its candidates are counted; nothing is trained, estimated, built or written."""

from pathlib import Path

from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.commands import TrainOptions, find_network
from xnorweave.commands.dry_run import dry_part
from xnorweave.commands.source import Report, head
from xnorweave.commands.training import recipe_to_train
from xnorweave.explore.cluster import check_dask
from xnorweave.explore.networks import check_codes, is_recipe
from xnorweave.explore.options import ExploreOptions
from xnorweave.explore.run import candidates_of, check_folder, check_network, check_options
from xnorweave.explore.work import build_versions
from xnorweave.images import load_images
from xnorweave.passes.workers import usable_cpus

__all__ = ["dry_explore"]


def dry_explore(text: str, output: Path, options: ExploreOptions) -> Report:
    """What `explore` would do with the same arguments; what it would refuse at its start is refused here as well.

    Raises
    ------
    XnorweaveError
        As `explore`.
    """
    boards = check_options(options)
    check_folder(output)
    check_dask()
    check_codes(options.codes, options.data)
    if is_recipe(text):
        recipe, _ = recipe_to_train(text, TrainOptions())
        _, height, width = recipe.model.image_shape
        does, report = [f"train {recipe.name}, where that was not done before"], {"format": REPORT_FORMAT}
    else:
        network = find_network(text).network
        check_network(network)
        if options.data is not None:
            load_images(options.data, network)
        _, height, width = network.input.shape
        does, report = [], head(network)
    made = ["as it is", *(f"codebooks of {codes}" for codes in options.codes)]
    candidates = candidates_of(made, height * width, options)
    effort = " ".join(f"{value:g} {name}" for name, value in options.effort.document().items())
    where = options.scheduler or f"{options.workers or usable_cpus()} processes of this machine"
    does += [
        f"estimate {len(candidates):,} candidates: {len(made)} networks, {len(options.boards)} boards, "
        f"{len(options.strategies)} strategies, {max(1, len(options.clocks_mhz))} clocks, {options.seeds} seeds",
        f"build those that may be best, at most {effort or 'all of them'}",
        f"work on {where}; what has a result in the folder is not done again",
    ]
    tools = {name: version for board in boards for name, version in build_versions(board.family).items()}
    files = [str(output / name) for name in ("explore.json", "explore.html", "results.sqlite")]
    return report | dry_part(does, files, tools)
