"""Golden identities of cells, for every option and preset.

    python -m tests.runs.golden        add cases that are missing in golden.json

Never change a hash in golden.json: users' run folders carry it in their names. Golden hashes leave
out the fingerprints of users' files.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sympo.identity import Identity, identity_of
from sympo.pipelines.cell import IDENTITY

CONF = Path(__file__).parents[2] / "conf"
FILE = Path(__file__).with_name("golden.json")
GROUPS = ("job", "dataset", "loss", "noise_model", "model")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def cases() -> dict[str, list[str]]:
    """The overrides of each case, by its name."""
    texts = ["gold_language", "hh", "ultrafeedback", "preferences"]
    found = [
        *([f"loss={loss}"] for loss in options("loss")),
        *([f"dataset={dataset}"] for dataset in options("dataset")),
        *(["job=policy", f"dataset={dataset}"] for dataset in texts),
        *(["job=policy", f"job/margin={margin}"] for margin in options("job/margin")),
        *([f"noise_model={model}", "noise=0.3"] for model in options("noise_model")),
        *([f"filter={one}"] for one in options("filter") if one != "none"),
        *(["dataset=hh", f"model={model}"] for model in ("tfidf", "tiny_reward", "hub_reward")),
        *(["dataset=hh", f"model={model}"] for model in ("smollm2_reward", "minilm_reward")),
        *(["job=policy", "dataset=hh", f"model={model}"] for model in ("tiny_lm", "smollm2")),
        ["dataset=hh", "dataset.part=judge"],
        ["model=cnn", "seed=7", "job.epochs=3"],
        *(["dataset=mnist", f"protocol={protocol}"] for protocol in options("protocol")),
        *([f"experiment={preset}"] for preset in options("experiment")),
    ]
    return {" ".join(overrides): overrides for overrides in found}


@cache
def identity(case: str) -> Identity:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", cases()[case] + ["assumed_rate=0.2"], return_hydra_config=True)
    groups = (*GROUPS, *(["filter"] if config.filter is not None else []))
    named = {group: str(config.hydra.runtime.choices[group]) for group in groups}
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, list(IDENTITY)))
    plain |= OmegaConf.to_container(
        OmegaConf.create({key: OmegaConf.to_container(config[key], resolve=True) for key in groups})
    )
    return identity_of({key: plain[key] for key in dict.fromkeys((*IDENTITY, *groups))}, named)


def entry(found: Identity) -> dict[str, Any]:
    return {
        "hash": found.digest(4),
        "settings": found.settings,
        "at_default": sorted(found.at_default),
    }


def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return content


if __name__ == "__main__":
    known = golden()
    new = {case: entry(identity(case)) for case in cases() if case not in known}
    FILE.write_text(json.dumps(known | new, indent=1, sort_keys=True) + "\n")
    print(f"{len(new)} cases added, {len(known)} kept")
