"""Mistakes that are none: hardware, or what it is made from, does the same with them, whatever the network.

No test can fail of these. Each was looked at by hand after every test near it had passed. They are of these kinds:

* a counter or signal that is a bit wider than its values need, and is never let overflow;
* a bound that is never reached, or a case that another line decides alike;
* a value that is not used where it differs.

A mistake that costs LUTs, registers or cycles is not among them: results are the same, but the plan's figures, which
tests look at, are not.
"""

__all__ = ["EQUIVALENT"]

# By file and the changed lines as they read with the mistake (`trials.mutations.Mutant.reads`): why it is none.
EQUIVALENT: dict[tuple[str, str], str] = {}
