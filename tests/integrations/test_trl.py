"""SymPOTrainer is TRL's DPOTrainer but for the loss."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sympo.losses import IPO, RDPO, DrDPO, Logistic, MarginLoss, Ramp
from sympo.types import BadInput

os.environ.setdefault("HF_HUB_OFFLINE", "1")
trl = pytest.importorskip("trl", reason="TRL is in the test extra")


@pytest.fixture(scope="module")
def tiny() -> Any:
    from tests.integrations import tiny

    return tiny


@pytest.fixture(scope="module")
def sympo_trainer() -> Any:
    from sympo.integrations.trl import SymPOTrainer

    return SymPOTrainer


SAME = [
    ("logistic", {}, {"loss_type": "sigmoid"}),
    ("hinge", {}, {"loss_type": "hinge"}),
    ("ipo", {}, {"loss_type": "ipo"}),
    ("rdpo", {"assumed_rate": 0.2}, {"loss_type": "robust", "label_smoothing": 0.2}),
]


@pytest.mark.parametrize("precomputed", [True, False])
@pytest.mark.parametrize(("loss", "of_loss", "of_peer"), SAME, ids=[name for name, *_ in SAME])
def test_equals_the_loss_of_trl(
    loss: str,
    of_loss: dict[str, float],
    of_peer: dict[str, Any],
    precomputed: bool,
    tiny: Any,
    sympo_trainer: Any,
    tmp_path: Path,
) -> None:
    common = {"precompute_ref_log_probs": precomputed}
    ours = tiny.trainer(sympo_trainer, tiny.settings(tmp_path, **common), loss=loss, **of_loss)
    peer = tiny.trainer(trl.DPOTrainer, tiny.settings(tmp_path, **common, **of_peer))
    torch.testing.assert_close(tiny.value_and_gradients(ours), tiny.value_and_gradients(peer))
    assert ours._metrics == peer._metrics
    assert ours.precompute_ref_logps == precomputed


def test_equals_trl_with_adapters(tiny: Any, sympo_trainer: Any, tmp_path: Path) -> None:
    """The reference is the policy without its adapter, so the policy has to leave it first."""
    peft = pytest.importorskip("peft")

    def found(kind: Any, **keywords: Any) -> Any:
        args = tiny.settings(tmp_path, precompute_ref_log_probs=False)
        adapter = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        trainer = tiny.trainer(kind, args, ref_model=None, peft_config=adapter, **keywords)
        return tiny.value_and_gradients(trainer)

    ours, peer = found(sympo_trainer, loss="logistic"), found(trl.DPOTrainer)
    assert abs(peer[0].item() - 0.6931) > 1e-3
    torch.testing.assert_close(ours, peer)


def test_keeps_the_auxiliary_loss_of_experts(tiny: Any, sympo_trainer: Any, tmp_path: Path) -> None:
    def found(kind: Any, **keywords: Any) -> Any:
        models = {"model": tiny.experts(0), "ref_model": tiny.experts(1)}
        args = tiny.settings(tmp_path, router_aux_loss_coef=0.7)
        return tiny.value_and_gradients(tiny.trainer(kind, args, **models, **keywords))

    torch.testing.assert_close(found(sympo_trainer, loss="logistic"), found(trl.DPOTrainer))


@pytest.mark.filterwarnings("ignore:`return_outputs=True`:FutureWarning")
def test_hands_out_the_outputs(tiny: Any, sympo_trainer: Any, tmp_path: Path) -> None:
    trainer = tiny.trainer(sympo_trainer, tiny.settings(tmp_path), loss="ramp")
    batch = next(iter(trainer.get_train_dataloader()))
    value, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert torch.equal(value, trainer.compute_loss(trainer.model, batch))
    assert outputs.logits.shape[:2] == batch["input_ids"].shape


def test_batch_is_reduced_as_the_loss_says(tiny: Any, sympo_trainer: Any, tmp_path: Path) -> None:
    """At temperature 1 Dr.DPO is -log(1 - mean sigmoid loss)."""
    args = tiny.settings(tmp_path)
    robust, _ = tiny.value_and_gradients(tiny.trainer(sympo_trainer, args, loss=DrDPO(1.0)))
    sigmoid, _ = tiny.value_and_gradients(tiny.trainer(sympo_trainer, args, loss="sigmoid"))
    torch.testing.assert_close(robust, -torch.log1p(-sigmoid))


def test_trains_evaluates_and_saves(tiny: Any, sympo_trainer: Any, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    args = tiny.settings(
        tmp_path,
        max_steps=2,
        learning_rate=1e-2,
        per_device_train_batch_size=3,
        save_strategy="steps",
        save_steps=2,
    )
    held_out = Dataset.from_list(tiny.ROWS[:2])
    trainer = tiny.trainer(sympo_trainer, args, loss="ramp", eval_dataset=held_out)
    trainer.train()
    first, second = (entry for entry in trainer.state.log_history if "loss" in entry)
    assert {"rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/chosen"} <= set(first)
    assert 0 < first["loss"] < 1 and second["grad_norm"] > 0
    assert 0 <= trainer.evaluate()["eval_loss"] <= 1
    trainer.save_model()
    before, after = tiny.model(0).state_dict(), trainer.model.state_dict()
    assert not all(torch.equal(before[name], after[name]) for name in before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], after[name]) for name in before)
    assert (tmp_path / "checkpoint-2" / "optimizer.pt").exists()
    assert "Symmetric Losses" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        ({}, Ramp()),
        ({"loss": "Logistic"}, Logistic()),
        ({"loss": "dr_dpo", "temperature": 0.5}, DrDPO(0.5)),
        ({"loss": "rdpo", "assumed_rate": 0.1}, RDPO(0.1)),
        ({"loss": "ipo"}, IPO(0.5)),
        ({"loss": "ipo", "beta": 0.2}, IPO(0.2)),
        ({"loss": IPO(0.3)}, IPO(0.3)),
        ({"loss": IPO}, IPO(0.5)),
        ({"loss": RDPO, "assumed_rate": 0.1}, RDPO(0.1)),
    ],
)
def test_names_and_settings(
    given: dict[str, Any], loss: Any, tiny: Any, sympo_trainer: Any, tmp_path: Path
) -> None:
    found = tiny.trainer(sympo_trainer, tiny.settings(tmp_path), **given).loss
    assert type(found) is type(loss) and vars(found) == vars(loss)


@pytest.mark.parametrize(
    ("given", "config", "words"),
    [
        ({"loss": "rampp"}, {}, ["loss='rampp'", "dr_dpo", "ramp", "truncated_hinge"]),
        ({"loss": "MarginLoss"}, {}, ["loss='MarginLoss'"]),
        ({"loss": "LossProperties"}, {}, ["loss='LossProperties'"]),
        ({"loss": None}, {}, ["loss=None"]),
        ({"loss": "ramp", "alpha": 2}, {}, ["alpha=2", "loss='ramp'", "no settings"]),
        ({"loss": "ropo", "alhpa": 2}, {}, ["alhpa=2", "alpha"]),
        ({"loss": "ropo", "alpha": -2}, {}, ["alpha=-2"]),
        ({"loss": "rdpo"}, {}, ["assumed_rate"]),
        ({"loss": MarginLoss}, {}, ["MarginLoss"]),
        ({"loss": int}, {}, ["int"]),
        ({"loss": Ramp, "alpha": 2}, {}, ["alpha=2", "loss=Ramp"]),
        ({"loss": Ramp(), "alpha": 2}, {}, ["alpha"]),
        ({}, {"loss_type": "hinge"}, ["args.loss_type=['hinge']", "['sigmoid']"]),
        ({}, {"label_smoothing": 0.1}, ["args.label_smoothing=0.1"]),
        ({}, {"ld_alpha": 0.5}, ["args.ld_alpha=0.5"]),
        ({}, {"f_divergence_type": "forward_kl"}, ["args.f_divergence_type='forward_kl'"]),
        ({}, {"use_weighting": True}, ["args.use_weighting=True"]),
    ],
)
def test_bad_settings_are_one_sentence(
    given: dict[str, Any],
    config: dict[str, Any],
    words: list[str],
    tiny: Any,
    sympo_trainer: Any,
    tmp_path: Path,
) -> None:
    with pytest.raises(BadInput) as error:
        tiny.trainer(sympo_trainer, tiny.settings(tmp_path, **config), **given)
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words), text
