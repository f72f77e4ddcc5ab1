"""Every YAML under conf/ composes and builds what it names; new ones are covered automatically."""

import dataclasses
import inspect
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import OmegaConf

import run
from experiments.cells import prepare
from experiments.report_settings import check_settings_exist, read_report
from experiments.settings import GROUPS, SETTINGS, build, check_keys, refuse_classes, resolved
from sympo.types import BadInput
from tests.conftest import DATA
from tests.helpers.configs import CONF, MARGINS, OPTIONS, composed
from tests.judges.made_model import model_folder

# job=judge makes no cell
# of the parts of runs, which job=judge does not make; margins are a group in a group
CLASSES = [
    *((*option, f"{option[0]}/{option[1]}") for option in OPTIONS if option[0] != "job"),
    *(("job", path.stem, f"hydra/job_settings/{path.stem}")
      for path in sorted((CONF / "hydra" / "job_settings").glob("*.yaml"))
      if path.stem != "judge" and "_target_" in OmegaConf.load(path)),
    *(("margin", path.stem, f"job/margin/{path.stem}")
      for path in sorted((CONF / "job" / "margin").glob("*.yaml"))),
]  # fmt: skip
EXPERIMENTS = [
    *([f"experiment={path.stem}"] for path in sorted((CONF / "experiment").glob("*.yaml"))),
    *([f"experiment={path.parent.name}", f"size={path.stem}"]
      for path in sorted((CONF / "hydra" / "experiment_sizes").glob("*/*.yaml"))),
]  # fmt: skip


def written(group: str, file: str) -> dict[str, Any]:
    """The settings in an option's own file."""
    found: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{file}.yaml"))
    settings: dict[str, Any] = found.get(group, found)  # a global option has its group as a key
    return settings


def default_of(part: Any, key: str) -> Any:
    """The default of a setting in its class."""
    field = vars(part).get("__dataclass_fields__", {}).get(key)
    if field is not None and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.signature(part).parameters[key].default


def overrides_for(group: str, option: str) -> list[str]:
    # what an option needs from outside itself to be runnable
    stories = [f"model.name_or_path={DATA / 'stories260K'}", "job.sampling.max_new_tokens=64"]
    needs = {
        ("dataset", "mnist"): [f"dataset.path={DATA}"],
        ("dataset", "gold_language"): ["job=policy"],
        ("dataset", "hh"): ["job=policy", f"dataset.path={DATA / 'hh-rlhf'}", *stories],
        ("dataset", "ultrafeedback"): [
            "job=policy", f"dataset.path={DATA / 'ultrafeedback_binarized'}", *stories
        ],
        ("dataset", "preferences"): [
            "job=policy", f"dataset.path={DATA / 'ultrafeedback_binarized'}", *stories,
            "dataset.train=train_prefs", "dataset.test=test_prefs",
        ],
        ("dataset", "two_judges"): [
            "job=reward_model", "model=tfidf", f"dataset.path={DATA / 'two_judges'}"
        ],
        ("noise_model", "second_judge"): [
            "job=reward_model", "dataset=two_judges", "model=tfidf", "noise=0.05",
            f"dataset.path={DATA / 'two_judges'}",
        ],
        ("model", "cnn"): ["dataset=mnist", f"dataset.path={DATA}"],
        ("model", "tiny_lm"): ["job=policy"],
        ("model", "hub"): [
            "job=policy", "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}", *stories
        ],
        ("model", "smollm2"): ["job=policy", "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}"],
        **{
            ("model", name): [
                "job=reward_model", "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}"
            ]
            for name in ("smollm2_reward", "minilm_reward")
        },
        ("model", "tiny_reward"): ["job=reward_model", "dataset=gold_language"],
        ("model", "tfidf"): ["job=reward_model", "dataset=gold_language"],
        ("model", "hub_reward"): [
            "job=reward_model", "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}", stories[0]
        ],
        ("noise_model", "instance_dependent"): ["job=policy"],
        ("noise_model", "length_dependent"): ["job=policy"],
        ("loss", "ipo"): ["job=policy", "job/margin=ipo"],
        ("judge", "gold"): ["job=policy"],
        ("judge", "openai"): ["job=policy", "judge.base_url=http://127.0.0.1:1/v1"],
        ("judge", "reward_model"): ["job=policy", "judge.name_or_path=MODEL"],
    }  # fmt: skip
    return [f"{group}={option}", "assumed_rate=0.2", "noise=0.3", *needs.get((group, option), [])]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_builds(group: str, option: str, tmp_path: Path) -> None:
    overrides = overrides_for(group, option)
    if any(str(DATA) in override for override in overrides) and not DATA.is_dir():
        pytest.skip(f"the real data that {group}={option} reads is not beside this checkout")
    if "judge.name_or_path=MODEL" in overrides:
        folder = model_folder(tmp_path.parent / "reward_model")
        for file in folder.glob("tokenizer*"):  # the embedded language has symbols of its own
            file.unlink()
        overrides[-1] = f"judge.name_or_path={folder}"
    config, choices = composed(*overrides, f"results_dir={tmp_path}")
    try:
        cell = prepare(config, choices)
    except BadInput as error:
        if "which is not installed: run pip install -e" in str(error):
            pytest.skip(str(error))
        raise
    assert choices[group] == option
    file = f"hydra/job_settings/{option}" if group == "job" else f"{group}/{option}"
    assert type(getattr(cell, group)) is get_class(written(group, file)["_target_"])
    if group not in ("sampler", "filter"):  # which name no run
        assert (cell.judge_name if group == "judge" else getattr(cell.name, group)) == option
    assert cell.folder.path.parts[-5:-2] == (cell.name.job, cell.name.dataset, cell.name.loss)
    assert not list(tmp_path.iterdir()), "checking a cell must leave nothing behind"


@pytest.mark.parametrize("name", ["hh", "ultrafeedback", "preferences", "gold_language"])
def test_texts_take_reward_models(name: str, tmp_path: Path) -> None:
    of_policies = overrides_for("dataset", name)
    if any(str(DATA) in override for override in of_policies) and not DATA.is_dir():
        pytest.skip(f"the real data that dataset={name} reads is not beside this checkout")
    kept = [o for o in of_policies if not o.startswith(("job", "model"))]
    config, choices = composed("job=reward_model", "model=tfidf", *kept, f"results_dir={tmp_path}")
    cell = prepare(config, choices)
    assert cell.job.headlines == ("test/order_accuracy", "test/label_accuracy")


@pytest.mark.parametrize("margin", MARGINS)
def test_margin_builds(margin: str, tmp_path: Path) -> None:
    config, choices = composed("job=policy", f"job/margin={margin}", f"results_dir={tmp_path}")
    assert prepare(config, choices).job.margin


@pytest.mark.parametrize("overrides", EXPERIMENTS, ids=" ".join)
def test_preset_is_accepted(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        preset = compose("config", overrides, return_hydra_config=True)
    sweep = OverridesParser.create().parse_overrides(
        [f"{key}={value}" for key, value in preset.hydra.sweeper.params.items()]
    )
    swept = [
        [f"{o.key_or_group}={one}" for one in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [str(o.input_line)]  # a size can leave one value of several
        for o in sweep
    ]
    # each value at least once
    for place in range(max(map(len, swept))):
        config, choices = composed(*overrides, *(values[place % len(values)] for values in swept))
        settings = resolved(config)
        check_settings_exist(read_report(settings.pop("report")), [settings])
        check_keys("", settings, SETTINGS)
        for group in GROUPS:
            build(group, choices[group], settings[group])


def test_options_of_a_group_differ() -> None:
    for group in (*GROUPS, "judge"):
        found = [
            (OmegaConf.to_container(OmegaConf.load(CONF / f"{file}.yaml")), file)
            for of, _, file in CLASSES
            if of == group
        ]
        for (one, file), (other, second) in itertools.combinations(found, 2):
            assert one != other, f"{file} and {second} are the same"


@pytest.mark.parametrize(("group", "option", "file"), CLASSES)
def test_class_has_a_stable_name(group: str, option: str, file: str) -> None:
    part = get_class(written(group, file)["_target_"])
    name = vars(part)["identity"]  # its own, not inherited
    of_it = [
        other for of, other, place in CLASSES
        if of == group and get_class(written(group, place)["_target_"]) is part
    ]  # fmt: skip
    assert name in of_it, f"{group}={option} is of the class that is called {name}"


@pytest.mark.parametrize(("group", "option", "file"), CLASSES)
def test_settings_have_defaults_in_the_class(group: str, option: str, file: str) -> None:
    settings = written(group, file)
    part = get_class(settings["_target_"])
    if vars(part).get("identity", option) != option:
        return  # small_cnn is cnn with other settings
    for key in inspect.signature(part).parameters.keys() & settings.keys():
        if "${" not in str(settings[key]):
            default = default_of(part, key)
            assert (list(default) if isinstance(default, tuple) else default) == settings[key], key


def test_size_changes_an_experiment() -> None:
    full, _ = composed("experiment=smollm2_hh")
    small, choices = composed("experiment=smollm2_hh", "size=medium", "job.batch_size=7")
    assert choices.model == "smollm2" and choices.job == "policy"
    assert (full.model.lora_rank, small.model.lora_rank) == (None, 16)
    assert (full.job.precision, small.job.precision) == ("bfloat16", "float32")
    assert small.dataset.part == "policies"
    assert small.job.batch_size == 7


def test_a_size_belongs_to_an_experiment() -> None:
    with pytest.raises(BadInput, match=r"^size=medium: .*; add experiment=NAME$"):
        prepare(*composed("size=medium"))
    for size, name, sizes in (
        ("medium", "paper_hh", "use size=full"),
        ("small", "smollm2_hh", "use size=full or size=medium"),
        ("medium", "flip_detection", "use size=full or size=small"),
    ):
        with pytest.raises(BadInput) as error:
            prepare(*composed(f"experiment={name}", f"size={size}"))
        assert str(error.value) == (
            f"size={size}: experiment={name} does not have this size; {sizes}"
        )


@pytest.mark.parametrize("folder", sorted((CONF / "hydra" / "experiment_sizes").iterdir()))
def test_sizes_reach_their_experiment(folder: Path) -> None:
    """A size changes what is swept, and its name is a line of the preset."""

    def swept(*size: str) -> Any:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            found = compose(
                "config", [f"experiment={folder.name}", *size], return_hydra_config=True
            )
        return found.hydra.sweeper.params

    for file in folder.glob("*.yaml"):
        assert (CONF / "size" / file.name).is_file()
        assert swept(f"size={file.stem}") != swept()


def test_command_line_wins_over_preset() -> None:
    config, _ = composed("experiment=mnist_paper_grid", "job.epochs=7", "model=small_cnn")
    assert config.job.epochs == 7
    assert config.model.kernel_size == 3


def test_data_set_brings_its_model() -> None:
    assert composed("dataset=mnist")[0].model.kernel_size == 5
    assert composed()[0].model.kernel_size == 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["noise=0.7"], ["noise=0.7", "[0, 0.5)"]),
        (["noise=0.5"], ["noise=0.5", "[0, 0.5)"]),
        (["noise=-0.1"], ["noise=-0.1", "[0, 0.5)"]),
        (["noise=abc"], ["noise='abc'", "float"]),
        (["noise=null"], ["noise=None", "float"]),
        (["~noise"], ["noise is missing"]),
        (["assumed_rate=0.7"], ["assumed_rate=0.7", "[0, 0.5)"]),
        (["wandb=null"], ["wandb=None"]),
        (["+wandb.foo=1"], ["wandb.foo=1", "no such key"]),
        (["progress.cell=x"], ["progress.cell='x'", "int"]),
        (["results_dir=/dev/null/x"], ["results_dir=/dev/null/x", "not a writable folder"]),
        (["results_dir=3"], ["results_dir=3", "str"]),
        (["report_dir=null"], ["report_dir=None", "str"]),
        (["report.claims=1"], ["report.claims=1", "a list"]),
        (["report.comparisons=[{name: a}]"], ["report.comparisons[0].metric is missing"]),
        (["device=[cpu]"], ["device=['cpu']", "str"]),
        (["threads=true"], ["threads=True", "int"]),
        (["seed=-1"], ["seed=-1"]),
        (["seed=1.5"], ["seed=1.5", "int"]),
        (["seed=true"], ["seed=True", "int"]),
        (["+foo=1"], ["foo=1", "no such key"]),
        (["+dataset.foo=1"], ["dataset.foo=1", "no such key"]),
        (["+loss.slope=1"], ["loss", "slope"]),
        (["loss=cdpo"], ["assumed_rate"]),
        (["loss=rdpo", "assumed_rate=0.5"], ["assumed_rate=0.5", "[0, 0.5)"]),
        (["loss=ropo", "loss.alpha=-1"], ["alpha=-1"]),
        (["noise_model=asymmetric", "noise_model.k=2"], ["k=2"]),
        (["device=tpu"], ["device=tpu", "auto"]),
        (["device=cuda:99"], ["device=cuda:99"]),
        (["wandb.mode=sometimes"], ["wandb.mode=sometimes", "offline"]),
        (["threads=0"], ["threads=0"]),
        (["force=maybe"], ["force='maybe'", "bool"]),
        (["job.epochs=0"], ["job.epochs=0"]),
        (["job.epochs=ten"], ["job.epochs='ten'", "int"]),
        (["job.learning_rate=0"], ["job.learning_rate=0"]),
        (["model.dropout=1"], ["model.dropout=1"]),
        (["model.kernel_size=4"], ["model.kernel_size=4"]),
        (["model=cnn"], ["8x8", "kernel_size=5"]),
        (["dataset.pairing=both"], ["dataset.pairing='both'", "disjoint"]),
        (["dataset.train_pairs=2000000"], ["dataset.train_pairs=2000000", "1300"]),
        (["dataset.pairing=disjoint"], ["dataset.train_pairs=2000", "sampled"]),
        (["dataset.train_images=1700"], ["dataset.train_images=1700", "1797"]),
        (["dataset.temperature=0"], ["dataset.temperature=0"]),
        (["dataset=mnist", "dataset.path=/nowhere"], ["/nowhere/MNIST/raw", "dataset=digits"]),
        (["model=tiny_lm"], ["model=tiny_lm", "small_cnn"]),
        (["job=policy", "dataset=digits", "model=tiny_lm"], ["dataset=digits", "job=policy"]),
        (["job=policy", "model=small_cnn"], ["model=small_cnn", "tiny_lm"]),
        (["job=policy", "model=hub"], ["model.name_or_path", "not set"]),
        (
            ["job=policy", "model=hub", "model.name_or_path=/nowhere"],
            ["model.name_or_path=/nowhere", "not a folder"],
        ),
        (["job=policy", "model=hub", "model.name_or_path=conf"], ["conf", "config.json"]),
        (["job=policy", "loss=ipo"], ["loss=ipo", "job/margin=ipo"]),
        (["job=policy", "job.margin=simpo"], ["job.margin='simpo'", "job/margin is a group"]),
        (["job=policy", "job.sft=null"], ["job.sft=None"]),
        (["job=policy", "job.sampling.temperature=inf"], ["job.sampling.temperature=inf"]),
        (["job=policy", "dataset.concentration=1e-6"], ["dataset.concentration=1e-06"]),
        (["job=policy", "job.sampling.max_new_tokens=60"], ["max_new_tokens", "64 positions"]),
        (["job=policy", "job.margin.beta=0"], ["job.margin.beta=0"]),
        (["job=policy", "job.margin.beta=x"], ["job.margin.beta='x'", "float"]),
        (["job=policy", "+job.sft.foo=1"], ["job.sft.foo=1", "no such key"]),
        (["job=policy", "job.sft.epochs=1.5"], ["job.sft.epochs=1.5", "int"]),
        (["job=policy", "job.sft.epochs=-1"], ["job.sft.epochs=-1"]),
        (["job=policy", "job.sampling.temperature=0"], ["job.sampling.temperature=0"]),
        (["job=policy", "job.sampling.top_p=1.5"], ["job.sampling.top_p=1.5"]),
        (["job=policy", "job.precision=float16"], ["job.precision=float16", "bfloat16"]),
        (["job=policy", "job.evaluate_every=0"], ["job.evaluate_every=0"]),
        (["job=policy", "job.max_grad_norm=0"], ["job.max_grad_norm=0"]),
        (["job=policy", "job.learning_rate=-1"], ["job.learning_rate=-1"]),
        (["job=policy", "dataset.topics=40"], ["dataset.topics=40", "tokens=32"]),
        (["job=policy", "dataset.stop=0"], ["dataset.stop=0"]),
        (["judge=gold"], ["judge=gold", "job=policy"]),
        (["job=policy", "judge=gold", "judge.against=x"], ["judge.against=x", "reference"]),
        (["job=policy", "judge=gold", "+judge.foo=1"], ["judge.foo=1", "no such key"]),
        (["job=policy", "judge=reward_model"], ["judge.name_or_path", "not set"]),
        (["job=policy", "judge=openai", "judge.concurrency=x"], ["judge.concurrency='x'", "int"]),
        (["job=policy", "model.heads=5"], ["model.heads=5", "hidden_size"]),
        (["job=policy", "model.lora_rank=0"], ["model.lora_rank=0"]),
        (["job=policy", "model.tokenizer_path=/nowhere"], ["model.tokenizer_path=/nowhere"]),
    ],
)
def test_bad_setting_is_one_sentence(overrides: list[str], words: list[str]) -> None:
    config, choices = composed(*overrides)
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("loss._target_=mine.Loss", "conf/loss/NAME.yaml"),
        ("++loss._target_=mine.Loss,sympo.losses.Ramp", "loss=NAME"),
        ("+loss={_target_: mine.Loss}", "conf/loss/NAME.yaml"),
        ('loss={"_target_":mine.Loss}', "conf/loss/NAME.yaml"),
        ("~job.margin._target_", "conf/job/margin/NAME.yaml"),
        ("job.sft._target_=mine.FineTuning", "job=NAME"),
    ],
)
def test_classes_are_chosen_by_files(
    override: str, instead: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["-m"]):
        monkeypatch.setattr(sys, "argv", ["run.py", *more, override])
        assert run.main() == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: {override}: ") and instead in line
        assert line.count("\n") == 1


def test_a_path_may_look_like_a_class() -> None:
    refuse_classes(["dataset.path=/a_target_/b", "dataset.path=x/_target_", "loss=_target_x", "-m"])
    refuse_classes(["results_dir=/x/._target_", "dataset.path=/d/a._target_=3"])
    refuse_classes(["wandb.group='my _target_: x'", "report_dir=out._target_"])


def test_a_part_needs_a_class() -> None:
    for target in (3, None):
        with pytest.raises(BadInput, match=f"^loss._target_={target} must name a class"):
            build("loss", "mine", {"_target_": target})
