import itertools
from dataclasses import replace

import numpy as np
import pytest

from xnorweave.errors import DoesNotFitError, UnsupportedError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, MaxPool, Network, Threshold
from xnorweave.passes.choose_plan import Budget, Planner, choose_plan
from xnorweave.passes.folds import Link, StageOptions, folded, links, spatial, unfolded
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline

FAMILIES = ("ice40", "ecp5")
ROOMY = Budget(family="ice40", luts=100_000, block_rams=500, clock_mhz=12.0, name="roomy")


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.fixture
def network(rng) -> Network:
    layers = (
        Conv2D(name="conv", weights=signs(rng, 6, 4, 3, 3), padding=(1, 1, 1, 1)),
        Threshold(name="sign", thresholds=np.zeros(6, np.int32)),
        MaxPool(name="pool"),
        Conv2D(name="second", weights=signs(rng, 4, 6, 2, 2)),
        Threshold(name="second_sign", thresholds=np.zeros(4, np.int32)),
        Dense(name="hidden", weights=signs(rng, 6, 4)),
        Threshold(name="hidden_sign", thresholds=np.zeros(6, np.int32)),
        Dense(name="scores", weights=signs(rng, 3, 6)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="bits", shape=(4, 4, 4)), layers=layers)


@pytest.fixture
def large(rng) -> Network:
    """A network in which engines and block RAM matter."""
    layers = (
        Conv2D(name="conv", weights=signs(rng, 32, 3, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(32, np.int32)),
        Conv2D(name="second", weights=signs(rng, 64, 32, 3, 3)),
        Threshold(name="second_sign", thresholds=np.zeros(64, np.int32)),
        Dense(name="hidden", weights=signs(rng, 100, 64 * 8 * 8)),
        Threshold(name="hidden_sign", thresholds=np.zeros(100, np.int32)),
        Dense(name="scores", weights=signs(rng, 10, 100)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="pixels", shape=(3, 12, 12)), layers=layers)


@pytest.fixture
def few(rng) -> Network:
    """A network of few kernels, whose weights take more block RAM than a small chip has."""
    patterns = signs(rng, 4, 3, 3)
    chosen = rng.permutation(np.resize(np.arange(4), 128 * 64)).reshape(128, 64)
    layers = (
        Conv2D(name="conv", weights=patterns[chosen] * signs(rng, 128, 64, 1, 1)),
        Threshold(name="sign", thresholds=np.zeros(128, np.int32)),
        MaxPool(name="pool"),
        Dense(name="scores", weights=signs(rng, 4, 128 * 4 * 4)),
        ArgMax(name="classify"),
    )
    return Network(name="few", input=InputSpec(kind="bits", shape=(64, 10, 10)), layers=layers)


def choose(network, budget, **options):
    return choose_plan(network, budget, levels_per_register=4, **options)


def share(plan, budget):
    return float(budget.shares(plan.luts, plan.block_rams))


def planner(network, family="ice40"):
    return Planner(network, family, levels_per_register=4, free_running=False)


def every_layer(stage, before, family):
    """All that `folds` can build of a stage, without any pruning."""
    if not isinstance(stage, (ConvStage, DenseStage)):
        return [unfolded(stage, before, family)]
    outputs, inputs = len(stage.weights), stage.weights[0].size
    conv = isinstance(stage, ConvStage)
    plans = [spatial(stage, before, family)]
    columns, rows = (stage.output_shape[2], range(1, 2 * stage.input_shape[1] + 1)) if conv else (1, [0])
    for pe, simd, vectors, kept, storage in itertools.product(
        range(1, outputs + 1), range(1, inputs + 1), range(1, columns + 1), rows, ("block", "logic", "codebook")
    ):
        try:
            fold = {"pe": pe, "simd": simd, "vectors": vectors, "buffer_rows": kept, "storage": storage}
            plans.append(folded(stage, before, family, **fold))
        except UnsupportedError:
            continue
    return plans


def brute_force(network, budget, family):
    """Least (interval, share of the budget), from every combination that no other of the same streams beats."""
    channels, height, width = network.input.shape
    reached = {Link(channels): {(height * width, 0, 0)}}
    for stage in streamline(network):
        following: dict[Link, set[tuple[int, int, int]]] = {}
        for before, totals in reached.items():
            for plan in every_layer(stage, before, family):
                new = {
                    (max(cycles, plan.interval_cycles), luts + plan.luts, rams + plan.block_rams)
                    for cycles, luts, rams in totals
                }
                following.setdefault(links(stage, plan, before), set()).update(new)
        reached = {link: undominated(totals) for link, totals in following.items()}
    fitting = [t for totals in reached.values() for t in totals if t[1] <= budget.luts and t[2] <= budget.block_rams]
    return min((cycles, float(budget.shares(n, rams))) for cycles, n, rams in fitting) if fitting else None


def undominated(totals):
    kept: list[tuple[int, int, int]] = []
    for total in sorted(totals):
        if not any(all(a <= b for a, b in zip(other, total, strict=True)) for other in kept):
            kept.append(total)
    return set(kept)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("luts", "rams"), [(10**6, 500), (900, 8), (750, 12), (650, 30), (1100, 2), (400, 1)])
def test_the_choice_is_the_best_of_all_combinations(network, family, luts, rams):
    budget = Budget(family=family, luts=luts, block_rams=rams, clock_mhz=12.0)
    expected = brute_force(network, budget, family)
    found = planner(network, family).fastest(budget)
    assert (found and (found.interval_cycles, share(found, budget))) == expected


def test_budgets_of_the_brute_force_differ(network):
    answers = {brute_force(network, Budget(family="ice40", luts=n, block_rams=9), "ice40") for n in (700, 900)}
    assert len(answers) == 2


def test_more_room_is_never_slower(large):
    plans = planner(large)
    for rams in (20, 60, 200):
        intervals = []
        for luts in (1500, 3000, 6000, 12_000, 40_000):
            found = plans.fastest(Budget(family="ice40", luts=luts, block_rams=rams))
            intervals.append(found.interval_cycles if found else 10**12)
        assert intervals == sorted(intervals, reverse=True)
    assert intervals[0] > intervals[-1]


def test_a_slower_rate_is_never_dearer(large):
    plans = planner(large)
    found = [plans.smallest(ROOMY, cycles) for cycles in (144, 200, 500, 2000, 10_000, 10**6)]
    shares = [share(plan, ROOMY) for plan in found]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) >= 5


def test_the_last_block_ram_is_not_spent_to_save_a_lut(large):
    plans, budget = planner(large), Budget(family="ice40", luts=20_000, block_rams=140)
    small = plans.smallest(budget, 2000)
    # Without a limit of its own the budget's LUTs do not count.
    fewest = plans.smallest(replace(budget, luts=1), 2000)
    assert fewest.luts < small.luts <= budget.luts
    assert share(small, budget) <= share(fewest, budget)
    assert small.block_rams < fewest.block_rams


def test_no_layer_is_slower_than_the_rate(large):
    for fps in (80_000, 20_000, 1000):
        plan = choose(large, ROOMY, fps=fps).plan
        assert plan.interval_cycles <= 12e6 / fps
        assert {layer.engine for layer in plan.layers[1:]} <= {"spatial", "folded", "stream"}


def test_nothing_is_spent_beyond_the_input(network):
    plan = choose(network, ROOMY).plan
    assert plan.interval_cycles == 36  # the padded positions of the only layer that cannot be faster for less
    assert plan.luts == planner(network).smallest(ROOMY, 36).luts


def test_totals_are_those_of_the_layers(large):
    plan = choose(large, ROOMY, fps=5000).plan
    assert plan.luts == sum(layer.luts for layer in plan.layers) > 0
    assert plan.block_rams == sum(layer.block_rams for layer in plan.layers) > 0
    assert plan.interval_cycles == max(plan.input_cycles, *(layer.interval_cycles for layer in plan.layers))


def test_neighbours_are_slower_and_less_or_faster_and_more(large):
    choice = choose(large, ROOMY, fps=2000)
    assert choice.smaller.interval_cycles > choice.plan.interval_cycles > choice.larger.interval_cycles
    assert share(choice.smaller, ROOMY) < share(choice.plan, ROOMY) < share(choice.larger, ROOMY)
    assert choice.smaller.interval_cycles >= 1.1 * choice.plan.interval_cycles * 0.9


def test_the_fastest_plan_has_no_faster_neighbour(large):
    fastest = planner(large).intervals[0]
    assert choose(large, ROOMY, fps=12e6 / fastest).larger is None


def test_what_does_not_fit_says_what_would(large):
    tight = Budget(family="ice40", luts=700, block_rams=10, clock_mhz=12.0, name="tight")
    message = (
        r"tight: the network does not fit: at any rate it takes about [\d,]+ LUTs and \d+ block RAMs, and 700 and 10 "
        r"are free for it; remedy: a board such as roomy \([\d,.]+ frames/s\)"
    )
    with pytest.raises(DoesNotFitError, match=message):
        choose(large, tight, alternatives={"tight too": tight, "roomy": ROOMY})
    with pytest.raises(DoesNotFitError, match="remedy: a smaller network: no board of the catalogue holds it"):
        choose(large, tight, alternatives={"tight too": tight})


def test_a_rate_that_does_not_fit_says_which_does(large):
    medium = Budget(family="ice40", luts=4000, block_rams=140, clock_mhz=12.0, name="medium")
    with pytest.raises(
        DoesNotFitError, match=r"for 80000 frames/s .* remedy: at most ([\d.]+) frames/s, which fit"
    ) as e:
        choose(large, medium, fps=80_000)
    rate = float(str(e.value).split("at most ")[1].split(" ")[0])
    assert medium.holds(choose(large, medium, fps=rate).plan)


def test_the_rate_of_an_interval_is_reached_by_it(large):
    plans = planner(large)
    budgets = [replace(ROOMY, clock_mhz=mhz) for mhz in (12.0, 25.0, 48.0, 33.3)]
    lost = [(b, n) for b in budgets for n in plans.intervals if int(b.clock_mhz * 1e6 / b.rate(n)) < n]
    assert lost  # as rounded, some rates want a cycle less
    for budget, cycles in lost[:5]:
        assert budget.cycles(budget.rate(cycles)) == cycles
        assert plans.reaching(budget, budget.rate(cycles)) == plans.smallest(budget, cycles)
        assert choose(large, budget, fps=budget.rate(cycles)).plan == plans.smallest(budget, cycles)


def test_a_rate_out_of_reach_is_refused(large):
    with pytest.raises(DoesNotFitError, match=r"leave 100 cycles a frame at 12 MHz, the network takes at least 144"):
        choose(large, ROOMY, fps=120_000)
    with pytest.raises(UnsupportedError, match="fps=-1: give a number above 0"):
        choose(large, ROOMY, fps=-1)
    with pytest.raises(UnsupportedError, match="fps=5: a frame rate needs a clock"):
        choose(large, Budget(family="ice40", luts=10**6, block_rams=500), fps=5)


def test_options_of_a_stage_do_not_beat_each_other(large):
    for stage in streamline(large):
        if isinstance(stage, ConvStage):
            (plans,) = [
                v for k, v in StageOptions(stage, "ecp5", 1).options(Link(stage.input_shape[0])).items() if not k.burst
            ]
            for a, b in itertools.permutations(plans, 2):
                assert (a.interval_cycles, a.luts, a.block_rams) != (b.interval_cycles, b.luts, b.block_rams)
                worse = a.interval_cycles >= b.interval_cycles and a.luts >= b.luts and a.block_rams >= b.block_rams
                assert not worse


def test_kernel_indices_make_room_where_block_rams_are_few(few, monkeypatch):
    tight = Budget(family="ice40", luts=8000, block_rams=30)
    with_indices = planner(few).fastest(tight)
    assert with_indices.layers[0].storage == "codebook"
    roomy = planner(few).fastest(replace(tight, luts=20_000, block_rams=110))
    assert [layer.engine for layer in roomy.layers] == ["folded", "stream", "folded", "stream"]
    assert {layer.storage for layer in roomy.layers} <= {"block", "logic"}
    monkeypatch.setattr("xnorweave.passes.folds.storages", lambda stage: ("block", "logic"))
    without = planner(few).fastest(tight)
    assert without is None or without.interval_cycles > with_indices.interval_cycles


def test_kernel_indices_are_offered_only_of_few_kernels(few, large):
    offered = []
    for network in (few, large):
        stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
        options = [StageOptions(s, "ice40", 1).options(Link(s.input_shape[0])) for s in stages]
        offered.append({plan.storage for found in options for plans in found.values() for plan in plans})
    assert offered[0] == {"block", "logic", "codebook"}
    assert offered[1] == {"block", "logic"}


def test_plans_are_the_same_every_time(large):
    first, second = (choose(large, ROOMY, fps=3000).plan for _ in range(2))
    assert first == second
    assert isinstance(first, Plan)
