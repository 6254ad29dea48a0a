import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from signals import heeding

from xnorweave import yosys
from xnorweave.errors import ToolchainError
from xnorweave.processes import run_tool
from xnorweave.yosys import run_yosys, whole_verilog, yosys_version


def run_python(code, folder, *, timeout_s=30, on_line=None):
    run_tool(
        [sys.executable, "-u", "-c", code],
        folder=folder,
        log="tool.log",
        timeout_s=timeout_s,
        tool="widget",
        remedy="apt install widget",
        on_line=on_line,
    )


def gone(pid):
    """Whether a process has ended, within two seconds. Where nobody waits for it, it may stay as a zombie."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_output_goes_to_the_log_and_line_by_line_to_the_caller(tmp_path):
    lines = []
    code = "import sys; print('one'); print('two', file=sys.stderr); print('\\r\\n', end=''); print('three', end='')"
    run_python(code, tmp_path, on_line=lines.append)
    assert lines == ["one", "two", "", "three"]
    assert (tmp_path / "tool.log").read_bytes() == b"one\ntwo\n\r\nthree"


def test_works_in_its_folder_with_nothing_to_read(tmp_path):
    run_python("import os, sys; open('here', 'w').write(sys.stdin.read() or 'empty')", tmp_path)
    assert (tmp_path / "here").read_text() == "empty"


def test_missing_tool(tmp_path):
    with pytest.raises(ToolchainError, match=r"widget: cannot run 'no-such-widget' \(No such file .* apt install wid"):
        run_tool(["no-such-widget"], folder=tmp_path, log="l", timeout_s=1, tool="widget", remedy="apt install widget")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('a'); print('ERROR: bad thing'); print('b'); raise SystemExit(3)", "exit status 3: ERROR: bad thing"),
        ("print('just this'); raise SystemExit(2)", "exit status 2: just this"),
        ("raise SystemExit(1)", "exit status 1: no output"),
        ("import os; os.kill(os.getpid(), 9)", r"ended by signal 9 \(Killed\), perhaps for want of memory"),
    ],
)
def test_failing_tool(tmp_path, code, message):
    with pytest.raises(ToolchainError, match=rf"widget: {message}; log: .*tool\.log; remedy: read the log"):
        run_python(code, tmp_path)


def test_time_out_ends_the_tool_and_its_children(tmp_path):
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid); time.sleep(60)"
    )
    pids = []
    start = time.monotonic()
    with pytest.raises(ToolchainError, match=r"widget: not done after 1\.5 s and was stopped"):
        run_python(code, tmp_path, timeout_s=1.5, on_line=lambda line: pids.append(int(line)))
    assert time.monotonic() - start < 10
    assert len(pids) == 1
    assert gone(pids[0])


def test_tool_that_ignores_the_polite_end_is_killed(tmp_path):
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(60)"
    pids = []
    with pytest.raises(ToolchainError, match="not done after"):
        run_python(code, tmp_path, timeout_s=1, on_line=lambda line: pids.append(int(line)))
    assert gone(pids[0])


def test_exception_of_the_caller_ends_the_tool(tmp_path):
    pids = []

    def stop(line):
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_python("import os, time; print(os.getpid()); time.sleep(60)", tmp_path, on_line=stop)
    assert gone(pids[0])


def test_what_a_killed_tool_began_is_ended_too(tmp_path):
    """The child holds the pipe, so that the run is not over when the tool is."""
    code = (
        "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    pids = []
    with pytest.raises(ToolchainError, match=r"widget: not done after 1 s and was stopped"):
        run_python(code, tmp_path, timeout_s=1, on_line=lambda line: pids.append(int(line)))
    assert gone(pids[0])


def test_ctrl_c_ends_the_tool(tmp_path):
    code = (
        "from pathlib import Path; import sys; from xnorweave.processes import run_tool\n"
        "run_tool([sys.executable, '-u', '-c', 'import os, time; print(os.getpid()); time.sleep(60)'],"
        " folder=Path('.'), log='l', timeout_s=60, tool='t', remedy='r', on_line=print)"
    )
    with heeding():
        process = subprocess.Popen([sys.executable, "-u", "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert gone(pid)


# --- Yosys


def test_yosys_keeps_its_script_and_log(tmp_path):
    run_yosys(["log hello"], folder=tmp_path, log="try.log", timeout_s=60)
    assert (tmp_path / "try.ys").read_text() == "log hello\n"
    assert "hello" in (tmp_path / "try.log").read_text()


def test_yosys_error_is_named(tmp_path):
    with pytest.raises(ToolchainError, match=r"yosys: exit status 1: ERROR: .*nowhere\.v.* log: .*try\.log"):
        run_yosys(["read_verilog nowhere.v"], folder=tmp_path, log="try.log", timeout_s=60)


@pytest.mark.parametrize("command", ["exec -- touch pwn", "  ! touch pwn", "log a\nexec -- touch pwn", "!touch pwn"])
def test_yosys_runs_no_programs(tmp_path, command):
    with pytest.raises(ValueError, match="not a Yosys command of our own"):
        run_yosys([command], folder=tmp_path, log="try.log", timeout_s=60)
    assert not list(tmp_path.iterdir())


VERILOG = "module a;\nendmodule\nmodule b;\nendmodule\n"


@pytest.mark.parametrize(
    "content", [None, b"", b"// nothing\n", VERILOG[:-3].encode(), VERILOG[:25].encode(), b"\xbe" + VERILOG.encode()]
)
def test_verilog_that_is_not_whole_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "design.v").write_bytes(content)
    with pytest.raises(ToolchainError, match=r"yosys: design\.v is no whole Verilog \(.*\); remedy: "):
        whole_verilog(tmp_path / "design.v")


def test_whole_verilog_is_taken(tmp_path):
    (tmp_path / "design.v").write_text(VERILOG)
    assert whole_verilog(tmp_path / "design.v") == VERILOG


def test_no_yosys(tmp_path, monkeypatch):
    monkeypatch.setattr(yosys.shutil, "which", lambda name: None)
    monkeypatch.setattr(yosys.importlib.util, "find_spec", lambda name: None)
    message = r"yosys: no `yosys` of 0\.40 or newer on PATH and no `pyosys` package; remedy: pip install pyosys"
    with pytest.raises(ToolchainError, match=message):
        run_yosys(["log"], folder=tmp_path, log="try.log", timeout_s=60)
    with pytest.raises(ToolchainError, match=message):
        yosys_version()


@pytest.mark.parametrize(("version", "taken"), [("0.23", False), ("0.40+12", True), ("0.9", False), ("0.70", True)])
def test_native_yosys_is_taken_when_new_enough(tmp_path, monkeypatch, version, taken):
    program = tmp_path / "yosys"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -V ]; then echo "Yosys {version} (git)"; else echo "native $1 $2"; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(yosys.shutil, "which", lambda name: str(program))
    run_yosys(["log hello"], folder=tmp_path, log="try.log", timeout_s=60)
    assert ("native -s try.ys" in (tmp_path / "try.log").read_text()) == taken
    assert (yosys_version() == version) == taken or version == "0.70"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a tool whose caller is killed")
def test_a_killed_caller_takes_its_tool_with_it(tmp_path):
    code = (
        "from pathlib import Path; import sys; from xnorweave.processes import run_tool\n"
        "run_tool([sys.executable, '-u', '-c', 'import os, time; print(os.getpid()); time.sleep(60)'],"
        " folder=Path('.'), log='l', timeout_s=60, tool='t', remedy='r', on_line=print)"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
        process.kill()
        process.wait()
    assert gone(pid)


def test_a_tool_has_the_signals_of_a_shell(tmp_path):
    script = ["sh", "-c", "kill -PIPE $$; echo survived"]
    with pytest.raises(ToolchainError, match="widget: ended by signal 13"):
        run_tool(script, folder=tmp_path, log="l", timeout_s=9, tool="widget", remedy="apt install widget")
