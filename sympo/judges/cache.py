"""All verdicts, in one SQLite file, committed as they arrive."""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from sympo.disk import set_aside
from sympo.identity import digest
from sympo.judges.former import Untranslatable, is_former
from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.protocols.judging import Judge
from sympo.types import BadInput, Comparison, Verdict

log = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE IF NOT EXISTS judges (judge TEXT PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY, judge TEXT NOT NULL, choice REAL, raw TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, asked REAL NOT NULL,
    digest BLOB
) WITHOUT ROWID;
"""
_ROW = "key, judge, choice, raw, prompt_tokens, completion_tokens, asked, digest"
_AT_A_TIME = 500
_RANGES = 2**12
# files of SQLite beside its own
_BESIDE = ("-wal", "-shm")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# files of which this process has checked every page; each row is checked when it is read
_looked_through: set[Path] = set()
_said: set[tuple[Path, str]] = set()  # once in a process is enough


class VerdictCache:
    """The verdicts of one judge, keyed by its settings, the dialogue, both responses, their order
    and the criterion; safe for several processes at once.

    Verdicts that earlier versions kept under another key of this judge are taken over. A damaged
    file is set aside, with one line in the log, and what can be read of it is kept; a damaged row
    counts as missing.

    retried: unparsable replies from before this moment, in seconds since the epoch, are asked
    again. Raises BadInput if the file cannot be opened.
    """

    def __init__(self, path: str | Path, judge: Judge, retried: float = float("inf")) -> None:
        self.path, self.retried = Path(path), retried
        self.path.parent.mkdir(parents=True, exist_ok=True)
        key = judge.key()
        self.settings, self.judge = _written(key), digest(key)
        self._open()
        self._former = self._former_settings(judge)

    def key(self, comparison: Comparison) -> bytes:
        """The key of a comparison's verdict."""
        return _key(self.settings, comparison)

    def find(self, asked: Mapping[bytes, Comparison]) -> dict[bytes, Verdict]:
        """The verdicts that need not be asked again, those of earlier versions included.

        asked: by `key`.
        """
        found = self.get(asked)
        for settings in self._former:
            lacking = {_key(settings, one): key for key, one in asked.items() if key not in found}
            rows = {lacking[row[0]]: row for row in self._rows(lacking)}
            for key, row in rows.items():
                self._write((key, self.judge, *row[2:7]))
                found[key] = Verdict(*row[2:6])
        return found

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Verdict]:
        """The verdicts under these keys that need not be asked again."""
        return {row[0]: Verdict(*row[2:6]) for row in self._rows(keys)}

    def _rows(self, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _AT_A_TIME):
            part = wanted[start : start + _AT_A_TIME]
            rows = self._run(
                f"SELECT {_ROW} FROM verdicts WHERE key IN ({','.join('?' * len(part))}) "
                "AND (choice IS NOT NULL OR asked >= ?)",
                [*part, self.retried],
            )
            if not all(map(_whole, rows)):
                self._warn("holds damaged verdicts, which are asked again")
            yield from filter(_whole, rows)

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keep a verdict, in place of an earlier unparsable reply."""
        tokens = (verdict.prompt_tokens, verdict.completion_tokens)
        self._write((key, self.judge, verdict.choice, verdict.raw, *tokens, time.time()))

    def _write(self, row: tuple[Any, ...]) -> None:
        self._run(_INSERT, [*row, _digest(row)])

    def forget(self, asked: Mapping[bytes, Comparison], before: float) -> None:
        """Drop verdicts that were given before a moment."""
        for key, comparison in asked.items():
            for one in (key, *(_key(settings, comparison) for settings in self._former)):
                self._run("DELETE FROM verdicts WHERE key = ? AND asked < ?", [one, before])

    def close(self) -> None:
        self._db.close()

    def _warn(self, what: str) -> None:
        if (self.path, what) not in _said:
            _said.add((self.path, what))
            log.warning("%s %s", self.path, what)

    def _former_settings(self, judge: Judge) -> list[str]:
        """The judge's settings as they were written when its key was another."""
        found, reasons = [], []
        for name, settings in self._run("SELECT judge, settings FROM judges ORDER BY judge", []):
            try:
                if settings != self.settings and is_former(judge, json.loads(settings)):
                    found.append(settings)
            except (ValueError, AttributeError, RecursionError) as error:
                reason = str(error) if isinstance(error, Untranslatable) else "broken JSON"
                reasons.append(f"{name} ({reason})")
        if reasons:
            self._warn(
                f"may hold verdicts of {judge.stable_name} under settings that cannot be "
                f"translated: {', '.join(reasons)}"
            )
        return found

    def _run(self, statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self._db.close()
        _looked_through.discard(self.path)
        self._open()
        return self._db.execute(statement, values).fetchall()

    def _open(self) -> None:
        # SQLite does not wait if two processes create the file at once
        with FileLock(f"{self.path}.lock"):
            if not self.path.exists() and _new(self.path).exists():  # a process was killed
                for end in _BESIDE:
                    Path(f"{self.path}{end}").unlink(missing_ok=True)
                _new(self.path).replace(self.path)
            try:
                self._db = _opened(self.path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise BadInput(f"{self.path} cannot be opened: {error}") from error
                self._db = _renewed(self.path, error)
            row = (self.judge, self.settings)
            self._db.execute("INSERT OR IGNORE INTO judges VALUES (?, ?)", row)
        _looked_through.add(self.path)


def _written(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _key(settings: str, comparison: Comparison) -> bytes:
    # the fields by name, so that another field of a comparison changes no key
    asked = {
        "dialogue": comparison.dialogue,
        "first": comparison.first,
        "second": comparison.second,
        "criterion": comparison.criterion,
    }
    text = json.dumps([settings, asked], ensure_ascii=True, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


_INSERT = f"INSERT OR REPLACE INTO verdicts ({_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _opened(path: Path) -> sqlite3.Connection:
    """A connection with all tables; raises DatabaseError if the file is damaged."""
    if path.is_file() and not path.stat().st_size:
        raise _damage("it is empty")
    db = _connected(path)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        if path not in _looked_through:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise _damage(" ".join(found.split()))
        db.executescript(_TABLES)
        columns = [row[1] for row in db.execute("PRAGMA table_info(verdicts)")]
        if "digest" not in columns:  # the file is older than digests
            db.execute("ALTER TABLE verdicts ADD COLUMN digest BLOB")
            columns.append("digest")
        if sorted(columns) != sorted(_ROW.split(", ")):
            raise _damage("its table verdicts has other columns")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _connected(path: Path) -> sqlite3.Connection:
    # autocommit: a verdict is on disk when `put` returns, whatever happens to the process
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.text_factory = _text
    db.execute("PRAGMA synchronous=NORMAL")
    return db


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")  # the digest reveals changes


def _renewed(path: Path, error: sqlite3.DatabaseError) -> sqlite3.Connection:
    """Set a damaged file aside and keep what can be read of it."""
    judges, rows = _rescued(path)
    new = _new(path)
    for end in ("", *_BESIDE):  # left by a killed process
        Path(f"{new}{end}").unlink(missing_ok=True)
    with closing(_opened(new)) as db:
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO judges VALUES (?, ?)", judges)
        db.executemany(_INSERT, rows)
        db.execute("COMMIT")
    aside = set_aside(path)
    for end in _BESIDE:  # which would be read into the new file
        with suppress(FileNotFoundError):
            Path(f"{path}{end}").replace(f"{aside}{end}")
    new.replace(path)
    log.warning(
        "%s is damaged (%s): it is set aside as %s; %s verdicts could be read and are kept, others "
        "are asked again",
        path, error, aside.name, f"{len(rows):,}",
    )  # fmt: skip
    return _opened(path)


def _new(path: Path) -> Path:
    """What is to replace a damaged file; complete once that is set aside."""
    return path.with_name(f"{path.name}.new")


def _rescued(path: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The intact judges and verdicts of a damaged file."""
    judges: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = _text
        with suppress(sqlite3.Error):
            db.execute("PRAGMA writable_schema=ON")  # or SQLite reads nothing of a cut file
        with suppress(sqlite3.Error):
            judges += db.execute("SELECT judge, settings FROM judges")
        # keys are hashes: a damaged page costs only what lies on it of a range of them
        for start in range(_RANGES):
            ends = [(16 * start + step).to_bytes(2, "big") for step in (0, 15)]
            ends[1] += b"\xff" * 14
            with suppress(sqlite3.Error):
                for row in db.execute(
                    f"SELECT {_ROW} FROM verdicts WHERE key BETWEEN ? AND ?", ends
                ):
                    if row[-1] is not None and _whole(row):
                        rows.append(row)
    return [one for one in judges if _is_judge(*one)], rows


def _is_judge(judge: Any, settings: Any) -> bool:
    try:
        return bool(digest(json.loads(settings)) == judge)
    except (TypeError, ValueError):
        return False


def _digest(row: tuple[Any, ...]) -> bytes:
    """Eight bytes over all columns of a row except the last."""
    key, judge, choice, raw, prompt_tokens, completion_tokens, asked = row[:7]
    number = None if choice is None else float(choice)  # as the column holds it
    text = repr((key, judge, number, raw, int(prompt_tokens), int(completion_tokens), asked))
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _whole(row: tuple[Any, ...]) -> bool:
    """Whether a row is intact; if it is older than digests, whether it is plausible."""
    key, _, choice, raw, prompt_tokens, completion_tokens, asked, digest = row
    typed = (
        isinstance(key, bytes)
        and choice in (None, FIRST, SECOND, TIE)
        and isinstance(raw, str)
        and isinstance(prompt_tokens, int)
        and isinstance(completion_tokens, int)
        and isinstance(asked, float)
    )
    return typed and digest in (None, _digest(row))


def _damage(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # an extended code has more above the first byte
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _DAMAGED
