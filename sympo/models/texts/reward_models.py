"""Language models as reward models: a scalar head on a text's last token, one pass per pair."""

import numpy as np
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.scorers import PretrainedScorer

# of a reward in float32, relative to the largest one if that is above 1
TOLERANCE = 1e-4


class RewardModel(PretrainedScorer):
    """A sequence classifier of `transformers` with one output, the reward of a text.

    Rewards equal those of the model's own forward pass over each text. Classifiers on causal models
    read the reward at the last token that is not the config's `pad_token_id`, so a model to be
    trained needs a padding token that does not end texts.

    Models without a head called `score` on causal hidden states, such as encoders, get a padded row
    for each answer.
    """

    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        packed = rows.pack(index, self.device)
        places = torch.as_tensor(rows.last(index, self._padding)).to(self.device)
        last = (packed.starts[:, None] + places).flatten()
        hidden = self._hidden(packed).index_select(0, last)
        # bfloat16 would tie close rewards
        with torch.autocast(self.device.type, enabled=False):
            rewards: Tensor = self._base.score(hidden.float())
        return rewards.view(len(index), rows.sides)

    def _separate(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        if self._padding is None:  # such a model takes one text at a time
            texts = [rows.rows[i].alone(side) for i in index for side in range(rows.sides)]
            ids = [torch.as_tensor(text).to(self.device)[None] for text in texts]
            return torch.cat([self._logits(own, None) for own in ids]).view(len(index), rows.sides)
        batch = rows.pad(index, self.device, self._padding)
        return self._logits(batch.input_ids, batch.mask).view(len(index), rows.sides)

    def _logits(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=mask).logits
        return logits[:, 0].float()

    @property
    def _padding(self) -> int | None:
        token: int | None = self._base.config.get_text_config().pad_token_id
        return token

    def _can_share(self) -> bool:
        return isinstance(getattr(self._base, "score", None), nn.Module)

    def _differ(self, shared: Tensor, separate: Tensor, rows: PackedRows) -> bool:
        scale = max(1.0, float(separate.abs().max()))
        return not bool((shared - separate).abs().max() < TOLERANCE * scale)
