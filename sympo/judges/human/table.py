"""The results of people's verdicts, as plain text."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from sympo.evaluation.verdicts import agreement, position_bias, win_rate
from sympo.judges.human.importing import preferred
from sympo.judges.judging import Item


def table(methods: Mapping[str, Sequence[Item]]) -> str:
    """Win rates by method with 95% intervals over prompts, then how much people agree."""
    every = [item for items in methods.values() for item in items]
    if not any(item["verdicts"] for item in every):
        return "no item is judged"
    rows: list[tuple[str, ...]] = [("method", "items", "win rate", "95% interval", "ties or split")]
    rows += [(name, *_row(items)) for name, items in methods.items() if items]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_people(every)])


def _row(items: Sequence[Item]) -> tuple[str, ...]:
    found = win_rate([item["score"] for item in items], [item["prompt"] for item in items], 0)
    return (
        str(len(items)),
        _percent(found["win_rate"]),
        f"{_percent(found['win_rate_low'])} to {_percent(found['win_rate_high'])}",
        _percent(found["tie_rate"]),
    )


def _people(items: Sequence[Item]) -> Iterator[str]:
    shown = [(item["prompt"], verdict["choice"]) for item in items for verdict in item["verdicts"]]
    if not shown:
        return
    bias = position_bias([choice for _, choice in shown], [prompt for prompt, _ in shown], 0)
    yield (
        f"the answer on the left won {_percent(bias['first_shown_wins'])} "
        f"({_percent(bias['first_shown_wins_low'])} to {_percent(bias['first_shown_wins_high'])})"
    )
    judged: dict[str, dict[int, float]] = {}
    for number, item in enumerate(items):
        for verdict in item["verdicts"]:
            judged.setdefault(verdict["by"], {})[number] = preferred(verdict)
    for name in sorted(judged):
        yield f"{name} judged {len(judged[name])} items"
    for one, other in combinations(sorted(judged), 2):
        if both := sorted(set(judged[one]) & set(judged[other])):
            yield f"{one} and {other} {_agreement(judged[one], judged[other], both, items)}"


def _agreement(
    one: Mapping[int, float], other: Mapping[int, float], both: Sequence[int], items: Sequence[Item]
) -> str:
    found = agreement(
        [one[i] for i in both], [other[i] for i in both], [items[i]["prompt"] for i in both], 0
    )
    return (
        f"agree on {_percent(found['agreement'])} ({_percent(found['agreement_low'])} to "
        f"{_percent(found['agreement_high'])}) of {len(both)} items, kappa {found['kappa']:.2f} "
        f"({found['kappa_low']:.2f} to {found['kappa_high']:.2f})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
