import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xnorweave.build_folder import REPORT_FORMAT, BuildFolderError, build_folder


def write_build(folder: Path, note: str) -> None:
    (folder / "report.json").write_text(json.dumps({"format": REPORT_FORMAT, "note": note}))


def note_of(path: Path) -> str:
    return json.loads((path / "report.json").read_text())["note"]


def test_a_build_appears_whole_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with build_folder(path) as folder:
        assert not path.exists()
        assert folder.parent == path.parent
        write_build(folder, "new")
    assert note_of(path) == "new"
    assert os.listdir(path.parent) == ["b"]


def test_a_later_build_replaces_an_older_one_wholly(tmp_path: Path) -> None:
    path = tmp_path / "build"
    with build_folder(path) as folder:
        write_build(folder, "old")
        (folder / "left").mkdir()
    with build_folder(path) as folder:
        write_build(folder, "new")
        assert note_of(path) == "old"
    assert note_of(path) == "new"
    assert os.listdir(path) == ["report.json"]
    assert os.listdir(tmp_path) == ["build"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("older", [False, True])
def test_a_failed_build_leaves_nothing_but_the_older_one(
    tmp_path: Path, error: type[BaseException], older: bool
) -> None:
    path = tmp_path / "build"
    if older:
        path.mkdir()
        write_build(path, "old")
    with pytest.raises(error), build_folder(path) as folder:
        write_build(folder, "new")
        raise error
    assert os.listdir(tmp_path) == (["build"] if older else [])
    assert not older or note_of(path) == "old"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "build"
    path.mkdir()
    with build_folder(path) as folder:
        write_build(folder, "new")
    assert note_of(path) == "new"


@pytest.mark.parametrize(
    "content",
    [None, "{}", "[1]", "not json", '{"format": "other/1"}', '{"format": 3}', "[" * 100_000, "\udcff"],
)
def test_a_folder_that_is_no_build_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "precious"
    path.mkdir()
    (path / "thesis.tex").write_text("x")
    if content is not None:
        (path / "report.json").write_bytes(content.encode(errors="surrogateescape"))
    message = r"precious: holds files, but no build .*choose another path"
    with pytest.raises(BuildFolderError, match=message), build_folder(path):
        pytest.fail("entered")
    assert (path / "thesis.tex").exists()
    assert os.listdir(tmp_path) == ["precious"]


def test_force_replaces_any_folder_but_no_file_and_no_link(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.mkdir()
    (path / "x").write_text("x")
    with build_folder(path, force=True) as folder:
        write_build(folder, "new")
    assert os.listdir(path) == ["report.json"]
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("x")
    link.symlink_to(path)
    for bad in (file, link):
        with pytest.raises(BuildFolderError, match="is a file or a link"), build_folder(bad, force=True):
            pytest.fail("entered")


def test_the_working_directory_and_home_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for bad in (Path(), Path("home"), Path("/")):
        with pytest.raises(BuildFolderError, match="give a folder of its own"), build_folder(bad, force=True):
            pytest.fail("entered")


def test_what_came_there_during_the_build_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "build"
    with pytest.raises(BuildFolderError, match="holds files"), build_folder(path) as folder:
        write_build(folder, "new")
        path.mkdir()
        (path / "precious").write_text("x")
    assert os.listdir(tmp_path) == ["build"]
    assert os.listdir(path) == ["precious"]


def test_two_builds_at_once_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "build"
    with build_folder(path) as folder:
        write_build(folder, "first")
        with pytest.raises(BuildFolderError, match=r"another build is writing it; wait"), build_folder(path):
            pytest.fail("entered")
        assert note_of(folder) == "first"
    assert note_of(path) == "first"


def test_another_build_is_seen_before_what_lies_there(tmp_path: Path) -> None:
    """Another build's exchange of folders may show anything for a moment: it must not be taken for the user's."""
    path = tmp_path / "build"
    with build_folder(path, force=True) as folder:
        write_build(folder, "first")
        path.mkdir()
        (path / "half").touch()
        with pytest.raises(BuildFolderError, match="another build is writing it"), build_folder(path):
            pytest.fail("entered")


def test_many_builds_at_once_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "build"
    wrong: list[str] = []

    def attempt(index: int) -> None:
        for _ in range(50):
            try:
                with build_folder(path) as folder:
                    if os.listdir(folder):
                        wrong.append("not empty")
                    (folder / f"of_{index}").touch()
                    write_build(folder, str(index))
                    if len(os.listdir(folder)) != 2:
                        wrong.append("mixed")
            except BuildFolderError as e:
                if "another build" not in str(e):
                    wrong.append(str(e))
            except OSError as e:
                wrong.append(str(e))

    threads = [threading.Thread(target=attempt, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(os.listdir(path)) == [f"of_{note_of(path)}", "report.json"]


def test_a_killed_build_does_not_block_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from xnorweave.build_folder import build_folder\n"
        "with build_folder(Path(sys.argv[1])) as f:\n"
        " (f / 'half').touch(); print('in', flush=True); time.sleep(60)\n"
    )
    path = tmp_path / "build"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert not path.exists()
    with build_folder(path) as folder:
        assert not os.listdir(folder)
        write_build(folder, "new")
    assert os.listdir(tmp_path) == ["build"]


def test_a_build_killed_between_the_renames_is_undone(tmp_path: Path) -> None:
    old = tmp_path / ".build.old"
    old.mkdir()
    write_build(old, "old")
    with pytest.raises(ValueError, match="stop"), build_folder(tmp_path / "build"):
        raise ValueError("stop")
    assert note_of(tmp_path / "build") == "old"
    assert os.listdir(tmp_path) == ["build"]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = r"build: cannot be written \(.+\); choose another path"
    with pytest.raises(BuildFolderError, match=message), build_folder(tmp_path / "file" / "build"):
        pytest.fail("entered")
