"""What language models, people and damaged disks answer: a verdict, invalid, or refused."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from sympo.disk import sealed
from sympo.evaluation.judged_content import read
from sympo.judges.human.importing import CHOICES, read_answers
from sympo.judges.human.key import Key, KeyCell, KeyItem
from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.judges.replies import NoAnswer, verdict
from sympo.judges.templates import choice, fill
from sympo.types import BadInput, Comparison, Verdict
from tests.fuzz.fuzzing import check_sentence, folder, fuzz, many, refusal
from tests.fuzz.strategies import broken_texts, deep, texts, values

VERDICTS = {"[[A]]": FIRST, "[[B]]": SECOND, "[[C]]": TIE}
_SAID = st.one_of(
    texts,
    st.sampled_from(
        ["[[A]]", "[[B]]", "[[C]]", "[[D]]", "[[a]]", "[A]", "[[A]", "**[[A]]**", "[[A]] or [[B]]",
         "Verdict: [[B]].", "[[A]]?", "<think>", "</think>", "<think>[[B]]</think>", "[THINK]",
         "[/THINK]", "<|channel|>final", "<|channel|>analysis", "</answer>", "\n", "\n\n", "A", "B",
         "Assistant A is better.", "not [[A]]", "［［A］］", "[[A]]\u200b", "<|im_end|>", "`[[C]]`"]
    ),
)  # fmt: skip
replies = st.lists(_SAID, max_size=6).map("".join)


@many(100, 1500)
def test_a_verdict_is_the_last_mark_or_none(examples: int) -> None:
    def check(given: tuple[str, bool, bool]) -> None:
        words, cut, thought = given
        found = choice(words, cut, thought)
        if found is not None:
            marks = re.findall(r"\[\[[ABC]\]\]", words)
            assert marks and VERDICTS[marks[-1]] == found
            after = words.rpartition(marks[-1])[2]
            assert not re.search(r"[^\W_]", re.sub(r"<[^<>\s]{1,40}>", "", after)), after
        if not cut:
            assert choice(f"{words}<think>", cut, thought) is None
            closed = choice(f"{words}</think>\n[[A]]", cut, thought)
            assert closed == FIRST

    cases = st.tuples(replies, st.booleans(), st.booleans())
    fuzz(examples, cases, check)


contents = st.one_of(
    replies, values,
    st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "thinking", "image", None]),
                                    "text": st.one_of(replies, values)}), max_size=3),
)  # fmt: skip
completions = st.one_of(
    st.fixed_dictionaries(
        {
            "choices": st.lists(
                st.fixed_dictionaries(
                    {"message": st.fixed_dictionaries(
                        {"content": contents}, optional={"refusal": values, "reasoning": values})},
                    optional={
                        "finish_reason": st.one_of(st.sampled_from(["stop", "length"]), values)
                    },
                ),
                min_size=1, max_size=2,
            ),
        },
        optional={"usage": st.one_of(
            values, st.fixed_dictionaries({"prompt_tokens": values, "completion_tokens": values})
        ), "error": values},
    ),
    st.fixed_dictionaries({"choices": values}),
    values,
    deep,
)  # fmt: skip


@many(100, 1500)
def test_a_reply_of_any_content(examples: int) -> None:
    def check(given: tuple[Any, str, int]) -> None:
        body, how, place = given
        content = json.dumps(body).encode()
        if how == "cut":
            content = content[: place % (len(content) + 1)]
        elif how == "flipped" and content:
            changed = bytearray(content)
            changed[place % len(content)] ^= 1 + place % 255
            content = bytes(changed)
        found = verdict(content)
        if isinstance(found, NoAnswer):
            check_sentence(found.reason)
            return
        assert found.choice in (None, FIRST, SECOND, TIE)
        assert found.prompt_tokens >= 0 and found.completion_tokens >= 0
        json.dumps(asdict(found)).encode()  # stored
        found.raw.encode()
        if how == "" and isinstance(body, dict) and found.choice is not None:
            said = body["choices"][0]["message"]["content"]
            if isinstance(said, str):
                plain_words = said.encode(errors="replace").decode()
                assert found.choice in (choice(plain_words, True, True), choice(plain_words))

    cases = st.tuples(
        completions, st.sampled_from(["", "", "cut", "flipped"]), st.integers(0, 10**5)
    )
    fuzz(examples, cases, check)


@many(40, 500)
def test_templates_take_any_text(examples: int) -> None:
    template = "{dialogue}|{answer_a}|{answer_b}|{mark}|[[A]] [[B]] {other}"

    def check(given: tuple[str, str, str]) -> None:
        prompt, one, other = given
        comparison = Comparison([{"role": "user", "content": prompt}], one, other)
        text = fill(template, comparison)
        wanted = (f"[user]\n{prompt}|{one}|{other}|").encode(errors="replace").decode()
        assert text.startswith(wanted) and text.endswith("|[[A]] [[B]] {other}")
        swapped = fill(template, Comparison(comparison.dialogue, other, one))
        assert text[-28:] == swapped[-28:]

    odd = st.one_of(broken_texts, st.sampled_from(["{dialogue}", "{mark}", "{answer_b}", "{0}"]))
    fuzz(examples, st.tuples(odd, odd, odd), check)


KEY = Key("s1", "chosen", "last", [KeyCell("run", "ramp", "d")],
          {"i1": KeyItem(0, 0, True), "i2": KeyItem(0, 1, False)}, [])  # fmt: skip
answers = st.one_of(
    st.fixed_dictionaries(
        {
            "study": st.one_of(st.just("s1"), st.just("s1"), values),
            "annotator": st.one_of(texts, values),
            "answers": st.one_of(
                st.lists(
                    st.one_of(
                        st.fixed_dictionaries(
                            {"item": st.sampled_from(["i1", "i2", "i3", None]),
                             "choice": st.sampled_from(["A", "B", "T", "a", "", None])}
                        ),
                        values,
                    ),
                    max_size=3,
                ),
                values,
            ),
        }
    ),
    values, deep,
)  # fmt: skip


@many(60, 1000)
def test_downloaded_answers(examples: int) -> None:
    def check(content: Any) -> None:
        with folder() as place:
            file = place / "answers.json"
            file.write_text(json.dumps(content))
            if refusal(lambda: read_answers(file, KEY), str(file)) is None:
                found = read_answers(file, KEY)
                assert found.choices == {
                    one["item"]: CHOICES[one["choice"]] for one in content["answers"]
                }
                assert found.annotator == content["annotator"].strip() != ""
                found.annotator.encode()

    fuzz(examples, answers, check)


@many(60, 500)
def test_keys_of_studies(examples: int) -> None:
    sound = asdict(KEY)

    def check(given: tuple[str, Any, bool]) -> None:
        name, value, inside = given
        content: Any = json.loads(json.dumps(sound))
        if inside:
            content["cells"][0][name] = value
            content["items"]["i1"][name] = value
        else:
            content[name] = value
        with folder() as place:
            file = place / "key.json"
            file.write_text(json.dumps(content))
            found: list[Key] = []
            if refusal(lambda: found.append(Key.read(file)), str(file)) is None:
                check_key(found[0], content)

    names = st.sampled_from(
        ["study", "against", "samples", "cells", "items", "equal", "folder", "method", "digest",
         "cell", "row", "policy_first"]
    )  # fmt: skip
    fuzz(examples, st.tuples(names, st.one_of(values, deep), st.booleans()), check)


def check_key(key: Key, content: Any) -> None:
    assert [asdict(cell) for cell in key.cells] == content["cells"]
    for item in (*key.items.values(), *key.equal):
        assert type(item.cell) is type(item.row) is int and type(item.policy_first) is bool
        assert 0 <= item.cell < len(key.cells) and item.row >= 0
    for cell in key.cells:
        assert all(isinstance(text, str) for text in (cell.folder, cell.method, cell.digest))


ITEM = {"id": 1, "prompt": "p", "score": 0.5, "length": 3, "other_length": 4,
        "verdicts": [{"policy_first": True, "choice": 0.5}]}  # fmt: skip
JUDGED = {
    "judge": "gold", "config": {"against": "chosen"},
    "samples": {"last": {"digest": "d", "judged": 1.0, "prompt_tokens": 0, "completion_tokens": 0,
                         "metrics": {"win_rate": 0.5, "win_rate_se": 0.1, "invalid_rate": 0.0},
                         "items": [ITEM]}},
}  # fmt: skip


@many(60, 1000)
def test_judged_files(examples: int) -> None:
    sound = sealed(JUDGED).encode()

    def check(given: tuple[str, int, int, Any]) -> None:
        how, place, byte, value = given
        content = bytearray(sound)
        if how == "flip":
            content[place % len(content)] ^= byte
        elif how == "cut":
            content = content[: place % len(content)]
        else:  # a file without a digest, one value replaced
            body = json.loads(json.dumps(JUDGED))
            holders = [body, body["samples"]["last"], body["samples"]["last"]["metrics"],
                       body["samples"]["last"]["items"][0],
                       body["samples"]["last"]["items"][0]["verdicts"][0]]  # fmt: skip
            holder = holders[place % len(holders)]
            holder[list(holder)[byte % len(holder)]] = value
            content = bytearray(json.dumps(body).encode())
        try:
            found = read(bytes(content))
        except BadInput:
            raise
        except ValueError as error:
            assert str(error)
            return
        if how != "value":  # the name of the digest was hit, and the rest is whole
            assert how == "flip" and found["samples"] == JUDGED["samples"]
        metrics = found["samples"]["last"]["metrics"] if "last" in found["samples"] else {}
        assert all(one is None or abs(one) < float("inf") for one in metrics.values())

    cases = st.tuples(
        st.sampled_from(["flip", "cut", "value"]), st.integers(0, 10**5), st.integers(1, 255),
        st.one_of(values, deep),
    )  # fmt: skip
    fuzz(examples, cases, check)


def test_a_refusal_is_no_verdict() -> None:
    found = verdict(b'{"choices": []}')
    assert isinstance(found, Verdict) and found.choice is None


def test_a_key_of_other_values_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    for name, value in (("row", "0"), ("cell", 1), ("row", -1), ("policy_first", 1)):
        content = asdict(KEY)
        content["items"]["i1"][name] = value
        file.write_text(json.dumps(content))
        assert refusal(lambda: Key.read(file), f"{file} is not the key of a study")
    KEY.write(tmp_path / "sound.json")
    assert Key.read(tmp_path / "sound.json") == KEY


def test_answers_that_are_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text("[" * 100_000)
    said = refusal(lambda: read_answers(tmp_path / "answers.json", KEY))
    assert said == f"{tmp_path / 'answers.json'} cannot be read: its JSON is nested too deep"
