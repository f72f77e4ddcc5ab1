"""Any loss of the margin in TRL's DPOTrainer: `SymPOTrainer(model, loss="ramp", ...)`."""

import inspect
from typing import Any

from torch import Tensor
from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

from sympo.losses.named import resolved
from sympo.margins import DPO, AverageLogRatio
from sympo.objective import Objective
from sympo.protocols.models import Loss
from sympo.types import BadInput

# settings of DPOConfig that define the loss that ours replaces, with their neutral values
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
    """TRL's DPOTrainer with a loss of the margin z instead of its own.

    z = beta (log pi/pi_ref (chosen) - log pi/pi_ref (rejected)), with the beta of DPOConfig; for
    IPO, the difference of the log-ratios per token.

    loss: any loss that a config takes, your own included: an instance, a class, or a name ("ramp",
        "truncated_hinge", ...). Settings of a class or name are further keywords:
        SymPOTrainer(model, loss="rdpo", assumed_rate=0.1, ...). A loss with its own beta, IPO,
        takes that of DPOConfig unless it is given.

    Everything else is TRL's: models, data, adapters, precomputed references, metrics, checkpoints.
    For a loss whose `reduce` is not the mean (Dr. DPO), the batch is the pairs of one device in one
    forward pass; TRL averages over accumulation steps and processes.

    BadInput if the loss or one of its settings is unknown, or if DPOConfig asks for another loss as
    well (`loss_type`, `label_smoothing`, ...).
    """

    _tag_names, _name, _paper = TAGS, "SymPO", PAPER

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        args: DPOConfig | None = None,
        *others: Any,
        loss: Loss | type[Loss] | str = "ramp",
        **keywords: Any,
    ) -> None:
        theirs = inspect.signature(DPOTrainer).parameters
        settings = {key: keywords.pop(key) for key in list(keywords) if key not in theirs}
        beta = DPOConfig.beta if args is None else args.beta
        # before TRL starts, which may score a whole data set with the reference
        self.loss = resolved(loss, settings, {"beta": beta})
        margin = AverageLogRatio() if self.loss.average_log_ratio else DPO(beta)
        self.pair_objective: Objective = Objective(margin, self.loss)
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
            found = super()._compute_loss(recorded, inputs, return_outputs)  # type: ignore[no-untyped-call]
        finally:
            self.precompute_ref_logps = precomputed
        losses = self.pair_objective.losses(self._z(passes[0].log_probs, inputs))
        loss = self.pair_objective.reduced(losses)
        return (found[0] + loss, found[1]) if return_outputs else found + loss

    def _with_reference(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.precompute_ref_logps:
            return inputs
        reference = self.ref_model or self.model
        chosen, rejected = self.compute_ref_log_probs(reference, inputs)  # type: ignore[no-untyped-call]
        return {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}

    def _z(self, token_logps: Tensor, inputs: dict[str, Any]) -> Tensor:
        """z of each pair, from rows that hold the chosen answers first; (n,)."""
        mask = inputs["completion_mask"]
        # prompt-tuning adapters put virtual tokens, with log-probabilities, before each text
        logps = token_logps[:, 1 - mask.size(1) :].sum(1)
        reference = [inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]]
        lengths = mask.sum(1).clamp(min=1)
        chosen, rejected = (
            self.pair_objective.margin.rewards(*of_side)
            for of_side in zip(logps.chunk(2), reference, lengths.chunk(2), strict=True)
        )
        return self.pair_objective.z(chosen, rejected)


def _check_replaced(args: DPOConfig | None) -> None:
    for key, neutral in REPLACED.items() if args is not None else ():
        value = getattr(args, key)
        if value != neutral:
            raise BadInput(
                f"args.{key}={value!r} is not allowed: SymPOTrainer takes its loss from `loss`: "
                f"leave it at {neutral!r}"
            )
