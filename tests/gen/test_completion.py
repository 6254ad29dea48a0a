"""Completion in shells: what their scripts ask the program for, and what they get."""

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys; sys.argv[0] = 'xnorweave'; from xnorweave.cli import main; sys.exit(main())"


def completed(shell: str, line: str) -> list[str]:
    """What the shell gets for a line whose last word is not complete."""
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }[shell]
    environment = os.environ | asked | {"_XNORWEAVE_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("xnorweave plan fash", {"fashion_mnist"}),
        ("xnorweave build fashion_mnist --board icebr", {"icebreaker", "icebreaker-bitsy"}),
        ("xnorweave explore fashion_mnist --boards icestick,ulx3s-8", {"icestick,ulx3s-85f"}),
        ("xnorweave train fashion-", {"fashion-mnist"}),
        ("xnorweave doc", {"doctor"}),
    ],
)
def test_bash_completes_commands_networks_boards_and_presets(line: str, words: set[str]) -> None:
    assert words <= set(completed("bash", line))


def test_zsh_completes_a_board() -> None:
    text = " ".join(completed("zsh", "xnorweave plan fashion_mnist --board icestic"))
    assert '"icestick"' in text
    assert "ulx3s" not in text


def test_what_is_no_word_of_ours_is_left_to_the_shells_files() -> None:
    assert completed("bash", "xnorweave plan exampl") == []


def test_the_script_is_shown_and_loads_in_bash() -> None:
    show = f'{sys.executable} -c "{PROGRAM}" --show-completion'
    line = f'script="$({show})" && eval "$script" && complete -p xnorweave; :'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    assert (
        "_XNORWEAVE_COMPLETE=complete_bash"
        in subprocess.run(["bash", "-c", f"{show}; :"], capture_output=True, text=True, check=False, timeout=120).stdout
    )
    assert "-F _xnorweave_completion xnorweave" in done.stdout, done.stderr
