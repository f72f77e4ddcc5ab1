"""Any loss of the margin in TRL's DPOTrainer: `SymPOTrainer(model, loss="ramp", ...)`."""

import inspect
from typing import Any

from torch import Tensor
from trl import DPOConfig, DPOTrainer

from sympo import losses
from sympo.losses import MarginLoss
from sympo.margins import DPO, IPO, Margin
from sympo.types import BadInput

# what DPOConfig says about the loss that ours replaces, with the values that say nothing
REPLACED = {
    "loss_type": ["sigmoid"],
    "loss_weights": None,
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "ld_alpha": None,
    "use_weighting": False,
}

# for the model card
TAGS = ["trl", "sympo"]
PAPER = {
    "title": "On Symmetric Losses for Robust Policy Optimization with Noisy Preferences",
    "id": "2505.24709",
}


class SymPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on a loss of the margin z in the place of its own.

    z = beta (log pi/pi_ref (chosen) - log pi/pi_ref (rejected)), with the beta of DPOConfig; for
    IPO, the difference of the log-ratios per token.

    loss: a MarginLoss, or the name of one ("ramp", "truncated_hinge", ...), which takes its
        settings as further keywords: SymPOTrainer(model, loss="rdpo", assumed_rate=0.1, ...). A
        loss with a beta of its own, IPO, is given that of DPOConfig where it is chosen by name.

    All else is TRL's: models, data, adapters, precomputed references, metrics, checkpoints. A loss
    whose `reduce` is not the mean (Dr.DPO) sees the pairs of one device in one forward pass as its
    batch; TRL averages over accumulation steps and processes.

    BadInput where the loss or one of its settings is not known, or where DPOConfig asks for another
    loss as well (`loss_type`, `label_smoothing`, ...).
    """

    _tag_names, _name, _paper = TAGS, "SymPO", PAPER

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        args: DPOConfig | None = None,
        *others: Any,
        loss: MarginLoss | str = "ramp",
        **keywords: Any,
    ) -> None:
        theirs = inspect.signature(DPOTrainer).parameters
        settings = {key: keywords.pop(key) for key in list(keywords) if key not in theirs}
        beta = DPOConfig.beta if args is None else args.beta
        # before TRL starts, which may score a whole data set with the reference
        self.loss = _resolved(loss, beta, settings)
        self.margin: Margin = IPO() if self.loss.average_log_ratio else DPO(beta)
        _check_replaced(args)
        super().__init__(model, ref_model, args, *others, **keywords)
        self.loss_types, self.loss_weights = [], []  # TRL's part of the loss is its auxiliary one

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        passes = []

        def recorded(**keywords: Any) -> Any:
            passes.append(model(**keywords))
            return passes[-1]

        inputs = self._with_reference(inputs)
        precomputed, self.precompute_ref_logps = self.precompute_ref_logps, True
        try:
            found = super()._compute_loss(recorded, inputs, return_outputs)
        finally:
            self.precompute_ref_logps = precomputed
        loss = self.loss.reduce(self.loss(self._margins(passes[0].log_probs, inputs)))
        return (found[0] + loss, found[1]) if return_outputs else found + loss

    def _with_reference(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.precompute_ref_logps:
            return inputs
        chosen, rejected = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        return {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}

    def _margins(self, token_logps: Tensor, inputs: dict[str, Any]) -> Tensor:
        """z of each pair, from rows that hold the chosen answers first; (n,)."""
        mask = inputs["completion_mask"]
        # adapters that put virtual tokens before a text have positions of their own there
        logps = token_logps[:, 1 - mask.size(1) :].sum(1)
        reference = [inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]]
        lengths = mask.sum(1).clamp(min=1)
        chosen, rejected = (
            self.margin.rewards(*of_side)
            for of_side in zip(logps.chunk(2), reference, lengths.chunk(2), strict=True)
        )
        return chosen - rejected - self.margin.target


def _resolved(loss: MarginLoss | str, beta: float, settings: dict[str, Any]) -> MarginLoss:
    if isinstance(loss, MarginLoss):
        if settings:
            raise BadInput(
                f"{', '.join(sorted(settings))} is not allowed beside loss={loss!r}: settings are "
                "for a loss that is chosen by name"
            )
        return loss
    exported = [getattr(losses, name) for name in losses.__all__]
    kinds = {
        kind.__name__.lower(): kind
        for kind in exported
        if issubclass(kind, MarginLoss) and not inspect.isabstract(kind)
    }
    kind = kinds.get(str(loss).lower().replace("_", ""))
    if kind is None:
        raise BadInput(
            f"loss={loss!r} is not allowed: it must be a MarginLoss or one of "
            f"{', '.join(kind.__name__ for kind in kinds.values())}, in any case"
        )
    takes = inspect.signature(kind).parameters
    settings = ({"beta": beta} if "beta" in takes else {}) | settings
    for key in settings.keys() - takes.keys():
        raise BadInput(
            f"{key}={settings[key]!r} is not allowed: loss={loss!r} takes "
            f"{', '.join(takes) or 'no settings'}, and DPOTrainer has no such argument"
        )
    for key, setting in takes.items():
        if setting.default is setting.empty and key not in settings:
            raise BadInput(f"{key} is not set: loss={loss!r} needs it")
    return kind(**settings)


def _check_replaced(args: DPOConfig | None) -> None:
    for key, neutral in REPLACED.items() if args is not None else ():
        value = getattr(args, key)
        if value != neutral:
            raise BadInput(
                f"args.{key}={value!r} is not allowed: SymPOTrainer takes its loss from `loss`, so "
                f"leave it at {neutral!r}"
            )
