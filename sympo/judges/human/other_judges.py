"""How far people and other judges agree on the same responses, by noise rate."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sympo.evaluation.judged_content import read
from sympo.evaluation.verdicts import agreement
from sympo.judges.judging import Item
from sympo.judges.samples import Samples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """The score of people and of another judge on one response of a policy.

    noise: the rate of the policy's run. judge: the name of the judge's file without its ending,
        which distinguishes its settings.
    """

    noise: float
    judge: str
    prompt: str
    people: float
    other: float


def beside_people(
    folder: Path, samples: Samples, against: str, people: Sequence[Item]
) -> list[Beside]:
    """The valid verdicts of other judges in a run folder on what people judged; damaged files are
    left out with a line in the log."""
    noise = float(json.loads((folder / "summary.json").read_bytes())["noise"])
    found = []
    for path in sorted((folder / "judges").glob("*.json")):
        try:
            judged = read(path.read_bytes())
        except ValueError as error:
            log.warning("%s is damaged (%s): its verdicts are left out", path, error)
            continue
        there = judged["samples"].get(samples.which)
        same = judged["config"].get("against") == against
        if judged["judge"] == "human" or not same or there is None:
            continue
        if there["digest"] == samples.digest:
            scores = {item["id"]: item["score"] for item in there["items"]}
            found += [
                Beside(noise, path.stem, item["prompt"], item["score"], scores[item["id"]])
                for item in people
                if item["verdicts"] and scores.get(item["id"]) is not None
            ]
    return found


def kappa_table(beside: Sequence[Beside]) -> str:
    """Raw agreement and Cohen's kappa of people with each judge on win, tie or loss, by noise rate
    and over all, with 95% intervals over prompts."""
    rows: list[tuple[str, ...]] = [
        ("judge", "noise", "items", "agreement", "95% interval", "kappa", "95% interval")
    ]
    for judge in sorted({one.judge for one in beside}):
        own = [one for one in beside if one.judge == judge]
        rates = sorted({one.noise for one in own})
        for rate in rates:
            rows.append(_row(judge, f"{rate:g}", [one for one in own if one.noise == rate]))
        if len(rates) > 1:
            rows.append(_row(judge, "all", own))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(judge: str, noise: str, rows: Sequence[Beside]) -> tuple[str, ...]:
    found = agreement(
        [one.people for one in rows], [one.other for one in rows], [one.prompt for one in rows], 0
    )
    return (
        judge,
        noise,
        str(len(rows)),
        f"{100 * found['agreement']:.1f}%",
        f"{100 * found['agreement_low']:.1f}% to {100 * found['agreement_high']:.1f}%",
        f"{found['kappa']:.2f}",
        f"{found['kappa_low']:.2f} to {found['kappa_high']:.2f}",
    )
