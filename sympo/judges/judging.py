"""From a policy's samples to scored items; verdicts are kept as they arrive."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sympo.judges.cache import VerdictCache
from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.protocols.judging import Judge, JudgeStopped
from sympo.types import Comparison, Verdict

Line = Mapping[str, Any]
Item = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """An item per line, the tokens that its verdicts cost when they were given, and one unparsable
    reply, empty if there is none."""

    items: list[Item]
    prompt_tokens: int
    completion_tokens: int
    words: str = ""


def comparison(line: Line, against: str, policy_first: bool) -> Comparison:
    """A line of `samples/*.jsonl` as a judge sees it."""
    prompt = line["prompt"]
    dialogue = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    answers = (line["policy"], line[against])
    first, second = answers if policy_first else answers[::-1]
    return Comparison(dialogue, first, second, line.get("criterion", "helpful"))


def judge_answers(
    judge: Judge,
    lines: Sequence[Line],
    cache: VerdictCache,
    on_progress: Callable[[int, int], None],
) -> Judged:
    """Judge every line; only what the cache lacks is asked.

    lines: as in `samples/*.jsonl`. on_progress(verdicts so far, verdicts in all).
    Two equal responses are a tie, without a question. An item holds id, prompt, score (1, 0.5, 0,
    or None for invalid), length and other_length (characters), and verdicts, a
    `{"policy_first", "choice"}` for each time that the pair was shown.
    Raises JudgeStopped if the judge could not answer everything; its verdicts are kept.
    """
    shown = [_shown(judge, line) for line in lines]
    keys = [[cache.key(one) for one in several] for several in shown]
    by_key = {
        key: one
        for several, their_keys in zip(shown, keys, strict=True)
        for one, key in zip(several, their_keys, strict=True)
    }
    known = cache.find(by_key)
    if any(verdict.choice is not None for verdict in known.values()):
        judge.known_to_work()
    asked = [key for key in by_key if key not in known]
    on_progress(len(known), len(by_key))

    def on_verdict(number: int, verdict: Verdict) -> None:
        if not isinstance(verdict, Verdict):
            raise TypeError(
                f"{type(judge).__name__}.compare reported {verdict!r} for comparison {number}; it "
                "must be a Verdict"
            )
        cache.put(asked[number], verdict)
        known[asked[number]] = verdict
        on_progress(len(known), len(by_key))

    if asked:
        judge.compare([by_key[key] for key in asked], on_verdict)
        if missing := [number for number, key in enumerate(asked) if key not in known]:
            raise JudgeStopped(
                f"{type(judge).__name__}.compare reported no verdict for {len(missing)} of "
                f"{len(asked)} comparisons, the first of them number {missing[0]}"
            )
    items = [
        _item(judge, line, [known[key].choice for key in their_keys])
        for line, their_keys in zip(lines, keys, strict=True)
    ]
    return Judged(
        items,
        sum(verdict.prompt_tokens for verdict in known.values()),
        sum(verdict.completion_tokens for verdict in known.values()),
        next((verdict.raw for verdict in known.values() if verdict.choice is None), ""),
    )


def questions(judge: Judge, lines: Sequence[Line], cache: VerdictCache) -> dict[bytes, Comparison]:
    """The questions about these lines, by the cache's keys."""
    return {cache.key(one): one for line in lines for one in _shown(judge, line)}


def item(
    line: Line, against: str, score: float | None, verdicts: Sequence[Mapping[str, Any]]
) -> Item:
    """The record of a judged line."""
    return {
        "id": line["id"],
        "prompt": prompt_id(line),
        "score": score,
        "length": len(line["policy"]),
        "other_length": len(line[against]),
        "verdicts": list(verdicts),
    }


def prompt_id(line: Line) -> str:
    """Sixteen hexadecimal digits over a prompt; lines with the same prompt are not independent."""
    text = json.dumps(line["prompt"], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _item(judge: Judge, line: Line, choices: Sequence[float | None]) -> Item:
    orders = judge.rule.policy_first
    if not choices:
        return item(line, judge.against, judge.rule.score([TIE] * len(orders)), [])
    verdicts = [
        {"policy_first": first, "choice": choice}
        for first, choice in zip(orders, choices, strict=True)
    ]
    return item(line, judge.against, judge.rule.score(list(_preferred(verdicts))), verdicts)


def _preferred(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[float | None]:
    """The preference each time, 1 for the policy's response."""
    for verdict in verdicts:
        choice = verdict["choice"]
        if choice is None or verdict["policy_first"]:
            yield choice
        else:
            yield FIRST + SECOND - choice


def _shown(judge: Judge, line: Line) -> list[Comparison]:
    """A line in every order of the protocol; empty if the two responses are equal."""
    if line["policy"] == line[judge.against]:
        return []
    return [comparison(line, judge.against, first) for first in judge.rule.policy_first]
