"""Results that are never computed again: one SQLite file with a unique key for each.

A result is written as soon as it is there, in one synchronized transaction with those that came while the last was
written: a run that is killed at any moment leaves all that it had stored, and nothing in part. A second result of a key
changes nothing. Only the process that explores opens the file; workers hand their results to it.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xnorweave.errors import ExploreError
from xnorweave.explore.candidate import canonical_json

__all__ = ["STORE_VERSION", "ResultStore", "open_store"]

STORE_VERSION = 1
_TABLE = "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID"


class ResultStore:
    """Documents by key; made by `open_store`.

    Parameters
    ----------
    path : Path
        The file, for messages.
    connection : sqlite3.Connection
        To it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection):
        self._path, self._connection = path, connection

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of a key; None where there is none yet."""
        with _sqlite_errors(self._path):
            row = self._connection.execute("SELECT document FROM results WHERE key = ?", (key,)).fetchone()
        return None if row is None else _read(self._path, key, row[0])

    def put(self, key: str, document: dict[str, Any]) -> bool:
        """Keep a result; False where its key has one already, which stays."""
        return self.put_all({key: document}) == 1

    def put_all(self, documents: Mapping[str, dict[str, Any]]) -> int:
        """Keep results, all or none of them; tells how many there were whose key had none before."""
        with _sqlite_errors(self._path), self._connection:
            values = [(key, canonical_json(document)) for key, document in documents.items()]
            done = self._connection.executemany("INSERT INTO results VALUES (?, ?) ON CONFLICT DO NOTHING", values)
        return done.rowcount

    def keys(self) -> set[str]:
        """All keys that have a result."""
        with _sqlite_errors(self._path):
            return {key for (key,) in self._connection.execute("SELECT key FROM results")}


@contextmanager
def open_store(path: Path) -> Iterator[ResultStore]:
    """The store at ``path``, made where there is none.

    Raises
    ------
    ExploreError
        Where the file is damaged, of another version, or cannot be written.
    """
    with _sqlite_errors(path):
        connection = sqlite3.connect(path)
    try:
        with _sqlite_errors(path):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, STORE_VERSION):
                raise ExploreError(
                    f"{path}: has version {version}, not {STORE_VERSION}; use what wrote it, or another folder"
                )
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {STORE_VERSION}")
        yield ResultStore(path, connection)
    finally:
        connection.close()


def _read(path: Path, key: str, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as e:
        raise ExploreError(f"{path}: result {key[:12]} is no JSON ({e}); move the file away to begin anew") from e
    return document


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as e:
        raise ExploreError(f"{path}: cannot be read or written ({e}); check the folder and its free space") from e
    except sqlite3.DatabaseError as e:
        raise ExploreError(f"{path}: is no store of results ({e}); move the file away to begin anew") from e
