"""What sweeps and their cells are called."""

from experiments.sweep_names import differing, group_name, settings_of
from sympo.runs.names import CellName, full_name, short_name

NAME = CellName("reward_model", "digits", "ramp", 0.3, "asymmetric", "small_cnn", 2)


def test_a_group_is_called_by_its_overrides_in_any_order() -> None:
    given = ["noise=0.1,0.4", "job.epochs=2", "loss=ramp,logistic", "results_dir=/tmp/x",
             "hydra.launcher.processes=1", "wandb.mode=offline"]  # fmt: skip
    name = "loss=ramp,logistic noise=0.1,0.4 job.epochs=2"
    assert group_name(given) == group_name(given[::-1]) == name
    assert group_name(["seed=0,1", "experiment=high_noise"]) == "experiment=high_noise seed=0,1"
    assert group_name([]) == "defaults"


def test_cells_differ_by_what_changes_them() -> None:
    ramp = [{"loss": "ramp", "assumed_rate": rate, "seed": "0"} for rate in ("0.1", "0.2")]
    cdpo = [{**settings, "loss": "cdpo"} for settings in ramp]
    # ramp assumes no rate, so that its two combinations are one cell
    assert differing([ramp, cdpo[:1], cdpo[1:]]) == [
        {"loss": "ramp"},
        {"loss": "cdpo", "assumed_rate": "0.1"},
        {"loss": "cdpo", "assumed_rate": "0.2"},
    ]


def test_names_show_what_differs() -> None:
    differs = {"loss": "ramp", "noise": "0.30", "noise_model": "asymmetric", "job.epochs": "5"}
    assert full_name(NAME, differs) == (
        "digits ramp noise=0.3 seed=2 noise_model=asymmetric job.epochs=5"
    )
    assert short_name(NAME, differs) == "ramp noise=0.3 noise_model=asymmetric job.epochs=5"
    assert full_name(NAME, None) == short_name(NAME, {}) == "digits ramp noise=0.3 seed=2"


def test_values_are_those_that_people_typed() -> None:
    keys = ["assumed_rate", "model.name_or_path", "hydra.launcher.processes"]
    lines = ["assumed_rate='${noise}'", "model.name_or_path='a b'", "hydra.launcher.processes=1"]
    assert settings_of(keys, lines) == {"assumed_rate": "noise", "model.name_or_path": "a b"}
