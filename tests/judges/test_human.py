"""A blind study out of run folders, and its answers back into them."""

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sympo.evaluation.verdicts import win_rate
from sympo.judges.human.__main__ import main
from sympo.judges.human.page import render
from sympo.judges.judged_runs import Verdicts, judge_run
from sympo.judges.judging import prompt_id
from sympo.judges.metrics import judged_metrics
from sympo.runs.folder import run_folders
from sympo.types import Comparison
from tests.judges.made_study import LOSSES, made_line, made_run, made_runs, worth, write_samples
from tests.judges.scripted import Scripted

Study = dict[str, Any]


class Data(HTMLParser):
    """What a parser of HTML takes for the page's data, and every tag it sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text = ""
        self._inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._inside = ("id", "study") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside else ""


def exported(runs: Path, out: Path, *options: str) -> tuple[Study, Study]:
    """The page's data and its key."""
    assert main(["export", str(runs), "--out", str(out), *options]) == 0
    key = json.loads(out.with_suffix(".key.json").read_text())
    return json.loads(Data(out.read_text()).text), key


def answered(page: Study, choose: Callable[[Study], str], name: str = "Anna") -> Study:
    answers = [{"item": item["id"], "choice": choose(item)} for item in page["items"]]
    return {"study": page["id"], "annotator": name, "answers": answers}


def by_worth(item: Study) -> str:
    a, b = worth(item["a"]), worth(item["b"])
    return "T" if a == b else "A" if a > b else "B"


def written(path: Path, content: Study) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def judged(runs: Path) -> dict[Path, Study]:
    """The judged file of each run folder that has one."""
    return {
        path.parents[1]: json.loads(path.read_text())
        for path in sorted(runs.rglob("judges/human-*.json"))
    }


def places(key: Study) -> dict[str, tuple[str, int]]:
    """Folder and row of each item."""
    return {
        name: (key["cells"][item["cell"]]["folder"], item["row"])
        for name, item in key["items"].items()
    }


def test_methods_are_drawn_alike_and_no_prompt_twice(tmp_path: Path) -> None:
    page, key = exported(made_runs(tmp_path / "runs"), tmp_path / "s.html", "--items", "24")
    cells = [key["cells"][item["cell"]] for item in key["items"].values()]
    assert Counter(cell["method"] for cell in cells) == {
        f"hh {loss} noise={noise}": 6 for loss in LOSSES for noise in (0.3, 0.4)
    }
    seeds = Counter((cell["method"], re.findall(r"seed=(\d)", cell["folder"])[0]) for cell in cells)
    assert set(seeds.values()) == {3}
    assert len({item["dialogue"][2]["content"] for item in page["items"]}) == 24
    first = Counter(
        key["cells"][item["cell"]]["method"]
        for item in key["items"].values()
        if item["policy_first"]
    )
    assert set(first.values()) == {3}, "each method's answer is on the left half of the time"


def test_pages_of_a_study_pair_the_methods(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "runs")
    seen, orders = defaultdict(set), set()
    for number in range(4):
        page, key = exported(
            runs, tmp_path / f"{number}.html", "--items", "8", "--annotator-seed", str(number)
        )
        orders.add(tuple(item["dialogue"][2]["content"] for item in page["items"]))
        for item in key["items"].values():
            cell = key["cells"][item["cell"]]
            seed = re.findall(r"seed=(\d)", cell["folder"])[0]
            seen[cell["method"]].add((seed, item["row"]))
    assert len(orders) == 4
    assert len(seen) == 4
    assert all(pairs == seen["hh ramp noise=0.3"] for pairs in seen.values())
    assert len(seen["hh ramp noise=0.3"]) == 8


def test_the_same_command_makes_the_same_page(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "runs")
    pages = [tmp_path / "one.html", tmp_path / "two.html", tmp_path / "three.html"]
    for page, seed in zip(pages, "001", strict=True):
        exported(runs, page, "--items", "20", "--seed", seed)
    assert pages[0].read_bytes() == pages[1].read_bytes() != pages[2].read_bytes()


def test_methods_that_differ_in_a_setting_are_apart(tmp_path: Path) -> None:
    for beta in (0.1, 0.3):
        made_runs(tmp_path / "runs", ["ramp"], [0.3], [0], beta=beta)
    _, key = exported(tmp_path / "runs", tmp_path / "s.html", "--items", "10")
    methods = Counter(key["cells"][item["cell"]]["method"] for item in key["items"].values())
    assert list(methods.values()) == [5, 5]
    assert all(re.fullmatch(r"hh ramp noise=0.3 [0-9a-f]{8}", method) for method in methods)


def test_the_page_does_not_tell_whose_answer_is_whose(tmp_path: Path) -> None:
    lines = [
        {**made_line(i, "ramp", f"one {i}"), "chosen": f"two {i}", "reference": f"three {i}"}
        for i in range(30)
    ]
    for loss in ("logistic", "symmetric_loss"):
        made_run(tmp_path / "runs", loss, 0.3, 17, lines)
    page, key = exported(tmp_path / "runs", tmp_path / "s.html", "--items", "30")
    source = (tmp_path / "s.html").read_text().replace("Content-Security-Policy", "")
    for word in (
        *("policy", "chosen", "rejected", "reference", "noise", "seed", "loss"),
        *("logistic", "symmetric", "runs", "samples", "1029", "three", str(tmp_path)),
        *(digest["digest"] for digest in key["cells"]),
    ):
        assert word not in source.lower(), word
    assert {tuple(item) for item in page["items"]} == {("id", "criterion", "dialogue", "a", "b")}
    assert {item["a"].split()[0] for item in page["items"]} == {"one", "two"}
    answers = [text for item in page["items"] for text in (item["a"], item["b"])]
    assert len(set(answers)) == len(answers), "an answer that comes twice is the opponent's"


def test_chance_cannot_be_worked_out_without_the_samples(tmp_path: Path) -> None:
    sides = []
    for change in ("a", "b"):
        runs = tmp_path / change
        made_run(
            runs, "ramp", 0.3, 0,
            [made_line(i, "ramp", f"{change} {i}: 4") for i in range(64)],
        )  # fmt: skip
        page, _ = exported(runs, tmp_path / f"{change}.html", "--items", "64")
        by_prompt = {item["dialogue"][2]["content"]: worth(item["a"]) for item in page["items"]}
        sides.append([by_prompt[prompt] for prompt in sorted(by_prompt)])
    assert 16 < sum(a != b for a, b in zip(*sides, strict=True)) < 48


def test_answers_come_back_to_every_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = made_runs(tmp_path / "runs")
    page, key = exported(runs, tmp_path / "s.html", "--items", "40")
    answers = written(tmp_path / "anna.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "s.key.json")]) == 0
    found = 0
    for folder, content in judged(runs).items():
        samples = [json.loads(text) for text in (folder / "samples/last.jsonl").open()]
        lines = {line["id"]: line for line in samples}
        there = content["samples"]["last"]
        assert content["judge"] == "human" and content["config"]["against"] == "chosen"
        assert there["metrics"] == judged_metrics(there["items"])
        for item in there["items"]:
            line = lines[item["id"]]
            assert item["score"] == {4: 0.0, 5: 0.5, 6: 1.0}[worth(line["policy"])]
            assert item["prompt"] == prompt_id(line)
            (verdict,) = item["verdicts"]
            assert verdict["by"] == "Anna"
            expected = item["score"] if verdict["policy_first"] else 1 - item["score"]
            assert verdict["choice"] == expected
            found += 1
    assert found == 40
    text = capsys.readouterr().out
    assert "Anna: 40 of 40 items answered" in text
    scores = defaultdict(list)
    for cell in key["cells"]:
        folder = (tmp_path / cell["folder"]).resolve()
        for item in judged(runs)[folder]["samples"]["last"]["items"]:
            scores[cell["method"]].append(item["score"])
    for method, values in scores.items():
        rate = win_rate(values, list(range(len(values))), 0)["win_rate"]
        assert re.search(rf"{re.escape(method)} +10 +{100 * rate:.1f}%", text), text


def test_importing_again_changes_nothing_and_others_add(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "runs", noises=[0.3], seeds=[0])
    page, _ = exported(runs, tmp_path / "s.html", "--items", "12")
    key = str(tmp_path / "s.key.json")
    anna = written(tmp_path / "anna.json", answered(page, by_worth))
    bo = written(tmp_path / "bo.json", answered(page, lambda item: "A", "Bo"))
    assert main(["import", anna, "--key", key]) == 0
    once = {path: path.read_bytes() for path in runs.rglob("human-*.json")}
    assert main(["import", anna, "--key", key]) == 0
    assert once == {path: path.read_bytes() for path in runs.rglob("human-*.json")}
    assert main(["import", bo, "--key", key]) == 0
    for content in judged(runs).values():
        for item in content["samples"]["last"]["items"]:
            by = {verdict["by"]: verdict for verdict in item["verdicts"]}
            assert set(by) == {"Anna", "Bo"}
            first = by["Bo"]["policy_first"]
            hers = by["Anna"]["choice"] if first else 1 - by["Anna"]["choice"]
            assert item["score"] == (hers + first) / 2
    together = {path: path.read_bytes() for path in runs.rglob("human-*.json")}
    shutil.rmtree(tmp_path / "runs" / "policy" / "hh" / "ramp" / "noise=0.3" / "judges", True)
    assert main(["import", bo, anna, "--key", key]) == 0
    assert together == {path: path.read_bytes() for path in runs.rglob("human-*.json")}


def test_damaged_file_asks_for_everyones_answers_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0])
    page, _ = exported(runs, tmp_path / "s.html", "--items", "6")
    key = str(tmp_path / "s.key.json")
    anna = written(tmp_path / "anna.json", answered(page, by_worth))
    bo = written(tmp_path / "bo.json", answered(page, lambda item: "A", "Bo"))
    assert main(["import", anna, bo, "--key", key]) == 0
    ((folder, content),) = judged(runs).items()
    (file,) = (folder / "judges").iterdir()
    file.write_text(file.read_text()[:500])
    assert main(["import", bo, "--key", key]) == 1
    assert "set aside as" in (words := capsys.readouterr().err) and "everyone else's again" in words
    assert main(["import", anna, "--key", key]) == 0
    (again,) = judged(runs).values()
    assert again["samples"]["last"]["items"] == content["samples"]["last"]["items"]


def test_the_last_answers_of_a_person_count(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0])
    page, _ = exported(runs, tmp_path / "s.html", "--items", "6")
    said = answered(page, lambda item: "A")
    key = str(tmp_path / "s.key.json")
    assert main(["import", written(tmp_path / "a.json", said), "--key", key]) == 0
    said["answers"] = [{**one, "choice": "T"} for one in said["answers"][1:]]
    assert main(["import", written(tmp_path / "a.json", said), "--key", key]) == 0
    (content,) = judged(runs).values()
    assert [item["score"] for item in content["samples"]["last"]["items"]] == [0.5] * 5


def test_two_pages_add_up(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "runs", noises=[0.3], seeds=[0])
    for number in "01":
        out = tmp_path / f"{number}.html"
        page, _ = exported(runs, out, "--items", "10", "--annotator-seed", number)
        answers = written(tmp_path / "a.json", answered(page, by_worth, f"person {number}"))
        assert main(["import", answers, "--key", str(out.with_suffix(".key.json"))]) == 0
    contents = list(judged(runs).values())
    assert len(contents) == 2
    prompts = [{item["prompt"] for item in one["samples"]["last"]["items"]} for one in contents]
    assert prompts[0] == prompts[1] and len(prompts[0]) == 10


def test_equal_answers_are_ties_that_nobody_is_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    lines = [made_line(i, "ramp", f"by ramp: {i % 2}") for i in range(8)]
    for line in lines[:3]:
        line["policy"] = line["chosen"]
    folder = made_run(tmp_path / "runs", "ramp", 0.3, 0, lines)
    page, _ = exported(tmp_path / "runs", tmp_path / "s.html", "--items", "8")
    assert len(page["items"]) == 5
    assert "3  with two equal responses" in capsys.readouterr().out
    answers = written(tmp_path / "a.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "s.key.json")]) == 0
    there = judged(tmp_path / "runs")[folder]["samples"]["last"]
    assert [item["score"] for item in there["items"]] == [0.5] * 3 + [0.0] * 5
    assert [len(item["verdicts"]) for item in there["items"]] == [0] * 3 + [1] * 5


def test_changed_samples_are_refused_and_others_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = made_runs(tmp_path / "runs", noises=[0.3], seeds=[0])
    page, _ = exported(runs, tmp_path / "s.html", "--items", "10")
    changed = next(runs.glob("policy/hh/logistic/*/*"))
    write_samples(changed, [made_line(i, "logistic", f"new: {i}") for i in range(40)])
    answers = written(tmp_path / "a.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "s.key.json")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert str(changed / "samples" / "last.jsonl") in said and "changed since the export" in said
    assert [folder.parts[-3] for folder in judged(runs)] == ["ramp"]


def test_key_and_runs_move_together(tmp_path: Path) -> None:
    runs = made_runs(tmp_path / "here" / "runs", noises=[0.3], seeds=[0])
    page, _ = exported(runs, tmp_path / "here" / "s.html", "--items", "10")
    (tmp_path / "here").rename(tmp_path / "there")
    answers = written(tmp_path / "a.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "there" / "s.key.json")]) == 0
    assert len(judged(tmp_path / "there" / "runs")) == 2


def test_agreement_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0])
    page, _ = exported(runs, tmp_path / "s.html", "--items", "30")
    files = [
        written(tmp_path / f"{name}.json", answered(page, by_worth, name))
        for name in ("Anna", "Bo")
    ]
    assert main(["import", *files, "--key", str(tmp_path / "s.key.json")]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"Anna and Bo agree on 100.0% \(\d\d.\d% to 100.0%\) of 30 items, kappa 1.00", text
    )
    assert "the answer on the left won" in text


BAD_ANSWERS: list[tuple[Callable[[Study], Any], list[str]]] = [
    (lambda said: [], ["not a file of answers"]),
    (lambda said: {**said, "study": "0" * 12}, ["study='000000000000'"]),
    (lambda said: {**said, "annotator": " "}, ["annotator=' '"]),
    (lambda said: {**said, "answers": [3]}, ["answer 1"]),
    (lambda said: {**said, "answers": [{"item": "x", "choice": "A"}]}, ["answer 1", "item='x'"]),
    (lambda said: {**said, "answers": [{"item": [], "choice": "A"}]}, ["answer 1", "item=[]"]),
    (
        lambda said: {**said, "answers": [{**said["answers"][0], "choice": "C"}]},
        ["answer 1", "choice='C'", "A, B, T"],
    ),
    (
        lambda said: {**said, "answers": said["answers"] + said["answers"][:1]},
        ["answer 5", "twice"],
    ),
]


@pytest.mark.parametrize(("change", "words"), BAD_ANSWERS)
def test_bad_answers_are_one_sentence_and_nothing_is_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    change: Callable[[Study], Any],
    words: list[str],
) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0], prompts=4)
    page, _ = exported(runs, tmp_path / "s.html", "--items", "4")
    good = answered(page, by_worth, "Bo")
    bad = written(tmp_path / "bad.json", change(answered(page, by_worth)))
    files = [written(tmp_path / "good.json", good), bad]
    assert main(["import", *files, "--key", str(tmp_path / "s.key.json")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert all(word in said for word in ["bad.json", *words]), said
    assert not judged(runs)


def test_other_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0], prompts=4)
    page, _ = exported(runs, tmp_path / "s.html", "--items", "4")
    key, said = str(tmp_path / "s.key.json"), answered(page, by_worth)
    one, two = (written(tmp_path / f"{name}.json", said) for name in ("one", "two"))
    odd = made_run(
        tmp_path / "odd", "ramp", 0.3, 0, [{**made_line(0, "", ": 1"), "criterion": "x"}]
    )
    broken = made_run(tmp_path / "broken", "ramp", 0.3, 0, [made_line(0, "", ": 1")])
    (broken / "summary.json").write_text("{}")
    capsys.readouterr()
    for arguments, words in (
        (["import", one, two, "--key", key], ["annotator='Anna'", "two files"]),
        (["import", one, "--key", one], ["one.json", "not the key"]),
        (["import", str(tmp_path / "none.json"), "--key", key], ["none.json"]),
        (["export", str(tmp_path / "nowhere")], ["nowhere", "not a folder"]),
        (["export", str(tmp_path / "runs"), "--noise-at-least", "0.4"], ["0.4", "1 with less"]),
        (["export", str(tmp_path / "runs"), "--noise-at-least", "0.7"], ["0.7", "[0, 0.5)"]),
        (["export", str(tmp_path / "runs"), "--items", "5"], ["--items=5", "at most 4"]),
        (["export", str(tmp_path / "runs"), "--items", "0"], ["--items=0"]),
        (["export", str(tmp_path / "runs"), "--annotator-seed", "-1"], ["--annotator-seed=-1"]),
        (["export", str(tmp_path / "odd"), "--items", "1"], [str(odd), "row 1", "criterion='x'"]),
        (["export", str(tmp_path / "broken")], [str(broken), "lacks config"]),
        (
            ["export", str(tmp_path / "runs"), "--items", "3", "--out", str(tmp_path / "s.html")],
            ["s.key.json", "another study"],
        ),
    ):
        assert main(arguments) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert all(word in line for word in words), line
    assert not judged(runs)


@settings(max_examples=50, deadline=None)
@example("</title><script>", "</script><!-- <script>", "&lt;\u2028]]>")
@given(st.text(), st.text(), st.text())
def test_texts_survive_a_parser(title: str, a: str, b: str) -> None:
    dialogue = [{"role": "user", "content": b + a}]
    item = {"id": "1", "criterion": "helpful", "dialogue": dialogue, "a": a, "b": b}
    source = render("0", title, [item])
    assert source.isascii()
    read = Data(source)
    assert json.loads(read.text)["items"] == [item]
    assert read.tags["script"] == 2


def test_kappa_with_a_judge_is_reported_per_noise_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """People go by worth. The judge does too at noise 0.4; at 0.3 it prefers every policy."""

    def says(comparison: Comparison) -> float:
        one, other = worth(comparison.first), worth(comparison.second)
        policy_first = comparison.first.startswith("by")
        if " at 0.3 " in comparison.first + comparison.second:
            return float(policy_first)
        return 0.5 if one == other else float(one > other)

    runs = made_runs(tmp_path / "runs", ["ramp"], seeds=[0], prompts=60)
    judge = Scripted(says=says, samples=["last"])
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    for folder in map(Path, run_folders(runs)):
        judge_run(folder, judge, name="planted", verdicts=verdicts)
    page, _ = exported(runs, tmp_path / "s.html", "--items", "60")
    answers = written(tmp_path / "anna.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "s.key.json")]) == 0
    rows = [
        re.split(r" {2,}", line)
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("planted-")
    ]
    assert [row[1:3] for row in rows] == [["0.3", "30"], ["0.4", "30"], ["all", "60"]]
    # a judge whose verdicts do not vary agrees by chance alone
    wins = float(rows[0][3].rstrip("%")) / 100
    assert 0.1 < wins < 0.6 and rows[0][5] == "0.00"
    assert rows[1][3] == "100.0%" and rows[1][5] == "1.00"
    assert 0 < float(rows[2][5]) < 1
    low, high = map(float, rows[2][6].split(" to "))
    assert low < float(rows[2][5]) < high


def test_judges_of_other_responses_are_not_compared_with_people(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = made_runs(tmp_path / "runs", ["ramp"], [0.3], [0])
    (folder,) = map(Path, run_folders(runs))
    judge = Scripted(says=lambda _: 1.0, samples=["last"], against="reference")
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    judge_run(folder, judge, name="planted", verdicts=verdicts)
    (folder / "judges" / "broken-1.json").write_text("{")
    page, _ = exported(runs, tmp_path / "s.html", "--items", "6")
    answers = written(tmp_path / "a.json", answered(page, by_worth))
    assert main(["import", answers, "--key", str(tmp_path / "s.key.json")]) == 0
    assert "kappa" not in capsys.readouterr().out
