"""Rows of preference files: read exactly, dropped and counted, or refused in one sentence."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import parquet

from sympo.data.hh import HH
from sympo.data.in_memory import TextPairs
from sympo.data.preferences import PreferenceSet
from sympo.data.text_rows import TextRows
from sympo.types import BadArgument
from tests.fuzz.fuzzing import folder, fuzz, many, refusal
from tests.fuzz.strategies import plain, probabilities, rows, texts

FORMATS = ("jsonl", "json", "csv", "parquet")


@dataclass(frozen=True)
class Pair:
    """What a row says, apart from how it is stored."""

    prompt: str
    chosen: str
    rejected: str
    likely: float | None = None

    @property
    def reason(self) -> str | None:
        """Why the row carries no preference, if it does not."""
        if not self.prompt.strip():
            return "dropped for an empty prompt"
        if not (self.chosen.strip() and self.rejected.strip()):
            return "dropped for an empty answer"
        if self.chosen == self.rejected:
            return "dropped for two equal answers"
        return "dropped for a probability of one half" if self.likely == 0.5 else None


# none begins like a list of messages, and no response with its prompt
_SAID = texts.filter(lambda text: not text.lstrip().startswith("["))
pairs = st.lists(
    st.builds(
        Pair,
        _SAID.map(lambda text: text and f"P{text}"),
        _SAID.map(lambda text: text and f"R{text}"),
        _SAID.map(lambda text: text and f"R{text}"),
        st.one_of(st.none(), st.floats(0, 1, allow_subnormal=False)),
    ),
    min_size=1,
    max_size=5,
)
styles = st.sampled_from(["strings", "responses", "dialogues", "sharegpt", "parts", "whole"])
written = st.tuples(pairs, styles, st.sampled_from(FORMATS), st.booleans())


def stored(pair: Pair, style: str) -> dict[str, Any]:
    """The row of a pair in one of the accepted forms."""
    role, content = ("from", "value") if style == "sharegpt" else ("role", "content")

    def message(who: str, text: str) -> dict[str, Any]:
        parts: Any = [{"type": "text", "text": text}] if style == "parts" else text
        return {role: who, content: parts}

    asked = [message("human" if style == "sharegpt" else "user", pair.prompt)]
    said = [
        [message("gpt" if style == "sharegpt" else "assistant", text)]
        for text in (pair.chosen, pair.rejected)
    ]
    match style:
        case "strings":
            row: dict[str, Any] = {
                "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected
            }  # fmt: skip
        case "responses":
            row = {"prompt": pair.prompt, "chosen": said[0], "rejected": said[1]}
        case "whole":
            row = {"chosen": asked + said[0], "rejected": asked + said[1]}
        case "dialogues":
            row = {"prompt": asked, "chosen": asked + said[0], "rejected": asked + said[1]}
        case _:
            row = {"prompt": asked, "chosen": said[0], "rejected": said[1]}
    return row if pair.likely is None else row | {"p": pair.likely}


def write(file: Path, table: list[dict[str, Any]], escaped: bool) -> None:
    names = list(dict.fromkeys(name for row in table for name in row))
    if file.suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=escaped) for row in table)
        file.write_bytes("\n".join(lines).encode())
    elif file.suffix == ".json":
        file.write_bytes(json.dumps(table, ensure_ascii=escaped).encode())
    elif file.suffix == ".csv":
        made = io.StringIO(newline="")
        ends = "\r\n" if escaped else "\n"
        out = csv.writer(made, lineterminator=ends, quoting=csv.QUOTE_ALL)
        out.writerow(names)
        for row in table:
            cells = (row.get(name) for name in names)
            out.writerow([json.dumps(one) if isinstance(one, list) else one for one in cells])
        file.write_bytes(made.getvalue().encode())
    else:
        full = [{name: row.get(name) for name in names} for row in table]
        parquet.write_table(pa.Table.from_pylist(full), file)


@many(40, 2500)
def test_what_is_accepted_is_what_was_written(examples: int) -> None:
    def check(given: tuple[list[Pair], str, str, bool]) -> None:
        wanted, style, kind, escaped = given
        soft = any(pair.likely is not None for pair in wanted)
        with folder() as place:
            file = place / f"a.{kind}"
            write(file, [stored(pair, style) for pair in wanted], escaped)
            data = PreferenceSet(
                path=str(file),
                prompt=None if style == "whole" else "prompt",
                probability="p" if soft else None,
            )
            missing = [pair.likely is None for pair in wanted]
            if soft and any(missing) and kind in ("jsonl", "json"):
                first = missing.index(True) + 1
                alone = all(pair.reason is None for pair in wanted[:first])
                assert refusal(
                    lambda: data.usable("train"), *[f"row {first}: p is missing"] * alone
                )
                return
            check_read(data.usable("train"), wanted, soft)

    fuzz(examples, written, check)


def check_read(found: TextRows, wanted: list[Pair], soft: bool) -> None:
    kept: dict[tuple[str, ...], float | None] = {}
    reasons: dict[str, int] = {}
    for pair in wanted:
        reason = pair.reason
        if soft and pair.likely is None:
            reason = "dropped for a missing probability"
        elif pair.likely == 0.5:
            reason = "dropped for a probability of one half"
        swapped = pair.likely is not None and pair.likely < 0.5
        one = (
            pair.prompt,
            *((pair.rejected, pair.chosen) if swapped else (pair.chosen, pair.rejected)),
        )
        if reason is None and one in kept:
            reason = "dropped for being a copy of another row"
        if reason is None:
            kept[one] = None if pair.likely is None else max(pair.likely, 1 - pair.likely)
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    read = {
        (pair.prompt[0]["content"], pair.chosen, pair.rejected): pair.probability
        for pair in found.pairs
    }
    assert read == kept
    assert dict(found.dropped) == reasons
    assert found.read == len(wanted)
    assert all(pair.prompt[0]["role"] == "user" for pair in found.pairs)


settings = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from([None, "prompt", "a.b", "nested.prompt", ""]),
        "chosen": st.sampled_from(["chosen", "nested.chosen", "p"]),
        "system": st.sampled_from([None, "system"]),
        "input": st.sampled_from([None, "input"]),
        "probability": st.sampled_from([None, "p"]),
        "score_chosen": st.just("good"),
        "score_rejected": st.just("bad"),
        "source": st.sampled_from([None, "source"]),
        "annotator": st.sampled_from([None, "annotator"]),
        "raw_prompts": st.booleans(),
        "validation_pairs": st.just(1),
        "test_share": st.sampled_from([0.1, 0.5]),
    },
)


@many(60, 2500)
def test_rows_of_any_content(examples: int) -> None:
    def check(given: tuple[list[dict[str, Any]], dict[str, Any], bool]) -> None:
        table, changes, escaped = given
        with folder() as place:
            file = place / "a.jsonl"
            content = "\n".join(json.dumps(row, ensure_ascii=escaped) for row in table)
            file.write_bytes(content.encode(errors="surrogatepass"))
            data = PreferenceSet(path=str(file), **changes)
            if not refusal(lambda: data.usable("train"), str(file)):
                check_kept(data.usable("train"), table)
            refusal(data.check)
            refusal(data.fingerprint)
            memory = TextPairs(table, **changes)
            same = [refusal(lambda one=one: one.usable("train")) is None for one in (data, memory)]  # type: ignore[misc]
            assert same[0] == same[1] or not escaped

    fuzz(
        examples, st.tuples(st.lists(rows, min_size=1, max_size=3), settings, st.booleans()), check
    )


def check_kept(found: TextRows, table: list[dict[str, Any]]) -> None:
    """Every row is kept or counted, and what is kept was in a row."""
    assert found.read == len(table) == len(found) + sum(found.dropped.values())
    held = "".join(_strings(table)).replace(" ", "").replace("\n", "")
    for pair in found.pairs:
        assert pair.chosen.strip() and pair.rejected.strip() and pair.chosen != pair.rejected
        assert pair.probability is None or 0.5 < pair.probability <= 1
        assert pair.gap is None or (pair.gap > 0 and np.isfinite(pair.gap))
        del held  # checked below only for texts that are stored as such
        held = "".join(_strings(table))
        for text in (pair.chosen, pair.rejected):
            assert text in held or json.dumps(text)[1:-1] in held or repr(text)[1:-1] in held


def _strings(found: Any) -> list[str]:
    if isinstance(found, str):
        return [found]
    if isinstance(found, dict):
        return [text for value in found.values() for text in _strings(value)]
    return [text for value in found for text in _strings(value)] if isinstance(found, list) else []


@many(30, 500)
def test_columns_of_tables(examples: int) -> None:
    """CSV and Parquet, whose cells have one type: numbers, dates, bytes, lists and structs."""

    def check(given: tuple[list[Any], list[Any], str]) -> None:
        cells, likely, kind = given
        size = min(len(cells), len(likely))
        table = [
            {"prompt": "Hi", "chosen": cell, "rejected": "No", "p": p}
            for cell, p in zip(cells, likely, strict=False)
        ]
        with folder() as place:
            file = place / f"a.{kind}"
            try:
                write(file, table, escaped=True)
            except (pa.ArrowException, UnicodeEncodeError, OverflowError, ValueError):
                return  # no such table
            data = PreferenceSet(path=str(file), probability="p")
            if refusal(lambda: data.usable("train"), str(file)) is None:
                found = data.usable("train")
                assert found.read == size == len(found) + sum(found.dropped.values())

    kinds = st.one_of(
        st.lists(plain, min_size=1, max_size=4),
        st.lists(st.binary(max_size=5), min_size=1, max_size=4),
        st.lists(st.datetimes(), min_size=1, max_size=4),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
        st.lists(
            st.decimals(allow_nan=False, allow_infinity=False, places=2), min_size=1, max_size=4
        ),
        st.lists(st.dictionaries(plain, plain, min_size=1, max_size=2), min_size=1, max_size=3),
        st.lists(st.lists(plain, max_size=2), min_size=1, max_size=3),
    )
    likely = st.one_of(
        st.lists(st.floats(0, 1), min_size=1, max_size=4),
        st.lists(probabilities, min_size=1, max_size=4),
        st.lists(st.decimals(0, 1, places=3), min_size=1, max_size=4),
    )
    fuzz(examples, st.tuples(kinds, likely, st.sampled_from(["csv", "parquet"])), check)


TURNS = st.lists(st.tuples(st.sampled_from(["Human", "Assistant", "Robot"]), plain), max_size=5)


@many(30, 500)
def test_dialogues_of_hh(examples: int) -> None:
    def check(given: list[tuple[list[tuple[str, str]], str, str]]) -> None:
        def text(turns: list[tuple[str, str]]) -> str:
            return "".join(f"\n\n{who}: {said}" for who, said in turns)

        table = [
            {"chosen": text(turns) + one, "rejected": text(turns) + other}
            for turns, one, other in given
        ]
        with folder() as place:
            (place / "helpful-base").mkdir()
            for split in ("train", "test"):
                lines = "".join(json.dumps(row) + "\n" for row in table)
                (place / "helpful-base" / f"{split}.jsonl").write_text(lines)
            data = HH(path=str(place), validation_pairs=1)
            found = data.usable("train")
            assert found.read == len(table) == len(found) + sum(found.dropped.values())
            for pair in found.pairs:
                whole = "".join(
                    f"\n\n{'Human' if one['role'] == 'user' else 'Assistant'}: {one['content']}"
                    for one in pair.prompt
                )
                # one space after the colon is the format's
                assert any(
                    row["chosen"].replace(": ", ":").endswith(pair.chosen.replace(": ", ":"))
                    and row["rejected"]
                    .replace(": ", ":")
                    .endswith(pair.rejected.replace(": ", ":"))
                    and row["chosen"].replace(": ", ":").startswith(whole.replace(": ", ":"))
                    for row in table
                )
            refusal(data.check)

    one = st.tuples(TURNS, texts, texts)
    ended = st.tuples(TURNS, plain, plain).map(
        lambda row: (
            [*row[0], ("Human", "Hi")],
            f"\n\nAssistant: {row[1]}",
            f"\n\nAssistant: {row[2]}",
        )
    )
    fuzz(examples, st.lists(st.one_of(one, ended), min_size=1, max_size=3), check)


def test_both_scores_or_neither() -> None:
    try:
        TextPairs([{"prompt": "Hi"}], score_chosen="good").check()
    except BadArgument as error:
        assert "score_chosen=good" in str(error)
    else:
        raise AssertionError
