"""From downloaded answers to verdicts in the run folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from sympo.judges.human.judge import Human
from sympo.judges.human.key import Key, KeyItem, read_json
from sympo.judges.human.other_judges import Beside, beside_people
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judging import Item, Judged, Line, item
from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.judges.samples import Samples
from sympo.types import BadInput

CHOICES = {"A": FIRST, "B": SECOND, "T": TIE}


@dataclass(frozen=True)
class HumanVerdicts:
    """The verdicts of one person: 1 for A, 0 for B, 0.5 for a tie, by the page's names of items."""

    annotator: str
    choices: dict[str, float]


@dataclass(frozen=True)
class Imported:
    """The people's verdicts that the key's run folders now hold, by method; what went wrong, a
    sentence per run folder; and the verdicts of other judges on the same responses."""

    items: dict[str, list[Item]]
    refused: list[str]
    beside: list[Beside]


def read_answers(path: Path, key: Key) -> HumanVerdicts:
    """Check a downloaded file against its study's key; raises BadInput."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("answers"), list):
        raise BadInput(f"{path} is not a file of answers, as downloaded from the page")
    if content.get("study") != key.study:
        raise BadInput(f"{path}: study={content.get('study')!r} is not the key's, {key.study!r}")
    annotator = content.get("annotator")
    if not isinstance(annotator, str) or not annotator.strip():
        raise BadInput(f"{path}: annotator={annotator!r} must be a name")
    choices: dict[str, float] = {}
    for number, answer in enumerate(content["answers"], 1):
        name, choice = _answer(answer, f"{path}, answer {number}", key)
        if name in choices:
            raise BadInput(f"{path}, answer {number}: item={name!r} is answered twice")
        choices[name] = choice
    return HumanVerdicts(annotator.strip(), choices)


def write_back(key: Key, key_path: Path, answers: Sequence[HumanVerdicts]) -> Imported:
    """Put verdicts into `judges/human-<hash>.json` of each run folder.

    Only the latest answers of an annotator to the key's items count; those of other people, and to
    other pages, stay. A run folder whose samples have changed since the export is refused.
    """
    people = [one.annotator for one in answers]
    for name in people:
        if people.count(name) > 1:
            raise BadInput(
                f"annotator={name!r} is in two files: import one of them, or rename a person"
            )
    items: dict[str, list[Item]] = {cell.method: [] for cell in key.cells}
    refused, beside = [], list[Beside]()
    for number, cell in enumerate(key.cells):
        folder = (key_path.absolute().parent / cell.folder).resolve()
        samples = Samples(folder, key.samples)
        if not samples.path.is_file():
            refused.append(f"{samples.path} is gone, so verdicts on it were not imported")
            continue
        with FileLock(folder / ".lock"):
            if samples.digest == cell.digest:
                file = JudgedFile(folder, "human", Human(against=key.against))
                file.adopt()
                if aside := file.set_aside_damaged():
                    refused.append(
                        f"{file.path} was damaged and is set aside as {aside.name}: it now holds "
                        "the answers just imported, so import everyone else's again"
                    )
                found = _write_cell(number, key, file, answers)
                items[cell.method] += found
                beside += beside_people(folder, samples, key.against, found)
            else:
                refused.append(
                    f"{samples.path} has changed since the export, so verdicts on it were not "
                    "imported"
                )
    return Imported(items, refused, beside)


def preferred(verdict: dict[str, Any]) -> float:
    """1 if a verdict prefers the policy's response, 0 for the other, 0.5 for a tie."""
    choice = float(verdict["choice"])
    return choice if verdict["policy_first"] else FIRST + SECOND - choice


def _answer(answer: Any, where: str, key: Key) -> tuple[str, float]:
    if not isinstance(answer, dict):
        raise BadInput(f"{where} is not an object with item and choice")
    name, choice = answer.get("item"), answer.get("choice")
    if not isinstance(name, str) or name not in key.items:
        raise BadInput(f"{where}: item={name!r} is not in the study")
    if not isinstance(choice, str) or choice not in CHOICES:
        raise BadInput(f"{where}: choice={choice!r} must be one of {', '.join(CHOICES)}")
    return name, CHOICES[choice]


def _write_cell(
    cell: int, key: Key, file: JudgedFile, answers: Sequence[HumanVerdicts]
) -> list[Item]:
    samples = Samples(file.folder, key.samples)
    there = file.samples.get(key.samples, {})
    before: list[Item] = there["items"] if there.get("digest") == samples.digest else []
    lines = samples.lines(key.against)
    said = {one["id"]: {v["by"]: v for v in one["verdicts"]} for one in before}
    for shown in key.equal:
        if shown.cell == cell:
            said.setdefault(lines[shown.row]["id"], {})
    for name, shown in key.items.items():
        if shown.cell == cell:
            of_item = said.setdefault(lines[shown.row]["id"], {})
            for one in answers:
                of_item.pop(one.annotator, None)
                if name in one.choices:
                    of_item[one.annotator] = _verdict(shown, one.choices[name], one.annotator)
    after = [_item(line, key.against, said[line["id"]]) for line in lines if line["id"] in said]
    items = [one for one in after if one is not None]
    if items != before:
        file.add(samples, Judged(items, 0, 0))
    return items


def _item(line: Line, against: str, said: dict[str, dict[str, Any]]) -> Item | None:
    """A line's item, the mean over people; two equal responses are a tie. None if nobody judged the
    line."""
    verdicts = [said[name] for name in sorted(said)]
    if verdicts:
        score = sum(map(preferred, verdicts)) / len(verdicts)
        return item(line, against, score, verdicts)
    return item(line, against, TIE, []) if line["policy"] == line[against] else None


def _verdict(shown: KeyItem, choice: float, annotator: str) -> dict[str, Any]:
    return {"policy_first": shown.policy_first, "choice": choice, "by": annotator}
