"""The tables in the pages are those of the results."""

import hashlib
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="tables")
def _tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bench/tables.py, which is in no package."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module("tables")


def test_every_page_is_up_to_date(tables: ModuleType) -> None:
    stale = [page.name for page in tables.pages() if tables.renewed(text := page.read_text("utf-8")) != text]
    assert stale == [], "run `python bench/tables.py`"


def test_every_table_is_in_a_page(tables: ModuleType) -> None:
    text = "".join(page.read_text("utf-8") for page in tables.pages())
    assert [name for name in tables.TABLES if f"<!-- table {name} -->" not in text] == []


def test_only_what_is_between_the_marks_is_replaced(tables: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TABLES", {"x": lambda: "| new |\n"})
    page = "before\n<!-- table x -->\n| old |\n<!-- end -->\nafter\n<!-- table x -->\n<!-- end -->\n"
    want = "before\n<!-- table x -->\n| new |\n<!-- end -->\nafter\n<!-- table x -->\n| new |\n<!-- end -->\n"
    assert tables.renewed(page) == want
    assert tables.renewed(want) == want


def test_an_unknown_table_is_an_error(tables: ModuleType) -> None:
    with pytest.raises(KeyError, match="missing"):
        tables.renewed("<!-- table missing -->\n<!-- end -->\n")


def test_the_picture_of_similar_kernels_is_that_of_the_results() -> None:
    digest = hashlib.sha256((ROOT / "bench" / "results" / "compress.json").read_bytes()).hexdigest()
    picture = (ROOT / "docs" / "figures" / "compressing.svg").read_text("utf-8")
    assert digest in picture, "run `python bench/compress_plot.py`"
