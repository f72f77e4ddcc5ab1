"""Language models as reward models: a scalar head on a text's last token, one pass per pair."""

import numpy as np
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.scorers import PretrainedScorer

# of a reward, as a share of the largest one where that is above 1, in float32
TOLERANCE = 1e-4


class RewardModel(PretrainedScorer):
    """A sequence classifier of `transformers` with one output; it scores a text by its reward.

    The reward of a text is what the model's own forward pass gives for that text alone. Classifiers
    on causal models read it at the last token that is not the config's `pad_token_id`, so a text
    that ends with this token is read before it: give a model that is to be trained a padding token
    that ends no text.

    Models without a head called `score` on causal hidden states, such as encoders, fall back to a
    padded row for each side.
    """

    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        packed = rows.pack(index, self.device)
        places = torch.as_tensor(rows.last(index, self._padding)).to(self.device)
        last = (packed.starts[:, None] + places).flatten()
        hidden = self._hidden(packed).index_select(0, last)
        # in bfloat16, close rewards would be ties
        with torch.autocast(self.device.type, enabled=False):
            return self._base.score(hidden.float()).view(len(index), rows.sides)

    def _separate(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        if self._padding is None:  # without a padding token such a model takes one text at a time
            texts = [rows.rows[i].alone(side) for i in index for side in range(rows.sides)]
            ids = [torch.as_tensor(text).to(self.device)[None] for text in texts]
            return torch.cat([self._logits(own, None) for own in ids]).view(len(index), rows.sides)
        batch = rows.pad(index, self.device, self._padding)
        return self._logits(batch.input_ids, batch.mask).view(len(index), rows.sides)

    def _logits(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=mask).logits[:, 0].float()

    @property
    def _padding(self) -> int | None:
        return self._base.config.get_text_config().pad_token_id

    def _can_share(self) -> bool:
        return isinstance(getattr(self._base, "score", None), nn.Module)

    def _differ(self, shared: Tensor, separate: Tensor, rows: PackedRows) -> bool:
        scale = max(1.0, float(separate.abs().max()))
        return not bool((shared - separate).abs().max() < TOLERANCE * scale)
