"""A library of six standard cells in Liberty format, whole or without some of them."""

_HEAD = """/* six cells */
library (small) {
  delay_model : table_lookup;
  time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA"; pulling_resistance_unit : "1kohm";
  leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);
  nom_process : 1; nom_voltage : 1.2; nom_temperature : 25;
  default_max_transition : 2.5;
  lu_table_template (t) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("0.01, 1.0"); index_2 ("0.001, 0.5"); }
"""
_TABLE = '{0} (t) {{ index_1 ("0.01, 1.0"); index_2 ("0.001, 0.5"); values ("0.02, 1.0", "0.1, 1.4"); }}'
_TABLES = " ".join(_TABLE.format(name) for name in ("cell_rise", "rise_transition", "cell_fall", "fall_transition"))
_GATES = {"inv": (2, "!A"), "buf": (3, "A"), "nand2": (4, "!(A*B)"), "nor2": (4, "!(A+B)"), "xor2": (8, "A^B")}
_UNATE = {"buf": "positive_unate", "xor2": "non_unate"}
DFF_AREA = 20


def _input(name: str, extra: str = "") -> str:
    return f"pin ({name}) {{ direction : input; capacitance : 0.002; {extra}}}"


def _gate(name: str) -> str:
    area, function = _GATES[name]
    inputs = [pin for pin in "AB" if pin in function]
    sense = _UNATE.get(name, "negative_unate")
    timing = " ".join(f'timing () {{ related_pin : "{pin}"; timing_sense : {sense}; {_TABLES} }}' for pin in inputs)
    return (
        f"cell ({name}) {{ area : {area}; {' '.join(map(_input, inputs))} "
        f'pin (Y) {{ direction : output; max_capacitance : 0.5; function : "{function}"; {timing} }} }}\n'
    )


def _flip_flop() -> str:
    timing = f'timing () {{ related_pin : "CK"; timing_type : rising_edge; timing_sense : non_unate; {_TABLES} }}'
    return (
        f'cell (dff) {{ area : {DFF_AREA}; ff (IQ, IQN) {{ clocked_on : "CK"; next_state : "D"; }} '
        f"{_input('D')} {_input('CK', 'clock : true; ')} "
        f'pin (Q) {{ direction : output; max_capacitance : 0.5; function : "IQ"; {timing} }} }}\n'
    )


def small_library(*, without: tuple[str, ...] = ()) -> str:
    """Text of the library."""
    cells = {name: _gate(name) for name in _GATES} | {"dff": _flip_flop()}
    return _HEAD + "".join(text for name, text in cells.items() if name not in without) + "}\n"
