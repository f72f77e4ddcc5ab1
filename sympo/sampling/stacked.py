"""Sampling from small policies of several cells together, with the draws of `Transformers`.

`torch.multinomial` draws a token as argmax_v p_v / q_v with q_v ~ Exp(1). The q of a step depend on
the seed and on the shape of the batch alone, so all policies share them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.compiled_llama import CompiledLlama
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.sampling.padding import by_length, padded
from sympo.sampling.responses import Responses
from sympo.sampling.settings import Sampling
from sympo.types import Vocabulary

# noise that compiled sampling draws at once, 64 MiB
MOST_DRAWS = 1 << 24


@dataclass(frozen=True)
class Drawn:
    """One cell's responses; logps: (n,) log-probability of each, by the policy itself, float64."""

    responses: Responses
    logps: np.ndarray


@torch.no_grad()
def sample_stacked(
    model: StackedLlama,
    prompts: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    sampling: Sampling,
    seed: int,
) -> list[Drawn]:
    """One response per cell and prompt: what `Transformers` draws from each cell's policy, but for
    rounding."""
    ids: list[list[np.ndarray]] = [
        [np.empty(0, np.int64)] * len(prompts) for _ in range(model.cells)
    ]
    logps = np.zeros((model.cells, len(prompts)))
    # a policy whose responses all end early leaves the generator at another place
    states = [torch.Generator(model.device).manual_seed(seed).get_state()] * model.cells
    for batch in by_length(prompts, sampling.batch_size):
        own_prompts = [prompts[i] for i in batch]
        compiled = _compiled(model, len(batch), sampling)
        for cells in _groups(states, model.device, compiled is not None):
            generator = torch.Generator(model.device)
            generator.set_state(states[cells[0]])
            if compiled is None:
                run = _Generation(model, cells, own_prompts, vocabulary, sampling)
                made, own, after = run.run(generator)
            else:
                weights = model.weights[cells]
                made, own, after = _sample(
                    compiled, weights, own_prompts, vocabulary, sampling, generator
                )
            for place, cell in enumerate(cells):
                states[cell] = after[place]
                logps[cell, batch] = own[place]
                for i, answer in zip(batch, made[place], strict=True):
                    ids[cell][i] = answer
    return [
        Drawn(Responses.up_to(vocabulary.eos, own), scored)
        for own, scored in zip(ids, logps, strict=True)
    ]


def _compiled(model: StackedLlama, prompts: int, sampling: Sampling) -> CompiledLlama | None:
    """Compiled sampling from the policies' own distribution; None if it cannot be used."""
    draws = sampling.max_new_tokens * prompts * model.shape.vocabulary
    if not sampling.exact or draws > MOST_DRAWS:
        return None
    return model.compiled


def _sample(
    compiled: CompiledLlama,
    weights: Tensor,
    prompts: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    sampling: Sampling,
    generator: torch.Generator,
) -> tuple[list[np.ndarray], np.ndarray, list[Tensor]]:
    """What `_Generation.run` returns."""
    steps = sampling.max_new_tokens
    noise = torch.empty(steps, len(prompts), compiled.shape.vocabulary)
    states = []
    for own in noise:
        own.exponential_(generator=generator)
        states.append(generator.get_state())
    found, total = compiled.sample(weights, prompts, noise, vocabulary.eos, vocabulary.pad)
    ids = found.numpy()
    ended = ids == vocabulary.eos
    lasts = np.where(ended.any(2), ended.argmax(2), steps - 1).max(1)
    return list(ids), total.numpy(), [states[last] for last in lasts]


def _groups(states: Sequence[Tensor], device: torch.device, compiled: bool) -> Iterator[list[int]]:
    """Cells that draw together: with PyTorch's operators on a CPU one by one, since a batch of
    prompts fills the caches."""
    groups: dict[bytes, list[int]] = {}
    for cell, state in enumerate(states):
        groups.setdefault(state.numpy().tobytes(), []).append(cell)
    for cells in groups.values():
        size = 1 if device.type == "cpu" and not compiled else len(cells)
        yield from (cells[start : start + size] for start in range(0, len(cells), size))


class _Generation:
    """Draws one response to each of n prompts, padded on the left, from C policies."""

    def __init__(
        self,
        model: StackedLlama,
        cells: list[int],
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
    ) -> None:
        self.model, self.shape = model, model.shape
        self.vocabulary, self.sampling = vocabulary, sampling
        self.weights = {name: own[cells] for name, own in model.weights_by_part().items()}
        self.cells, self.n = len(cells), len(prompts)
        ids, real = padded(prompts, vocabulary.pad)
        self.width = ids.shape[1]
        device, dtype = model.device, model.weights.dtype
        self.ids = torch.from_numpy(ids).to(device)
        # (n, 1): the number of padding tokens before each prompt
        self.padding = torch.from_numpy(self.width - real.sum(1)).to(device)[:, None]
        space = self.width + sampling.max_new_tokens
        size = (self.shape.layers, 2, self.cells, self.n, self.shape.heads, space, self.shape.head)
        self.cache = torch.zeros(size, dtype=dtype, device=device)
        # -inf for padding, (n, 1, 1, space)
        unseen = torch.arange(space, device=device) < self.padding
        self.bias = torch.zeros(self.n, 1, 1, space, dtype=dtype, device=device)
        self.bias.masked_fill_(unseen[:, None, None], -torch.inf)

    def run(self, generator: torch.Generator) -> tuple[list[np.ndarray], np.ndarray, list[Tensor]]:
        """New tokens (n, steps) of each cell, the log-probability of each response (C, n), and the
        state of the generator after each cell's last step."""
        eos, limit = self.vocabulary.eos, self.sampling.max_new_tokens
        logits = self._read(self.ids.expand(self.cells, -1, -1), 0)
        drawn, states = [], []
        open_ = torch.ones(self.cells, self.n, dtype=torch.bool, device=self.model.device)
        total = torch.zeros(self.cells, self.n, dtype=torch.float64, device=self.model.device)
        lasts = torch.full((self.cells,), limit - 1, device=self.model.device)
        for step in range(limit):
            noise = torch.empty(self.n, self.shape.vocabulary, device=self.model.device)
            noise.exponential_(generator=generator)
            states.append(generator.get_state())
            token = (self._probabilities(logits) / noise).argmax(-1)
            own = torch.log_softmax(logits, -1).gather(-1, token[..., None])[..., 0]
            total += torch.where(open_, own.double(), 0.0)
            token = torch.where(open_, token, self.vocabulary.pad)
            drawn.append(token)
            open_ = open_ & (token != eos)
            done = ~open_.any(1)
            lasts = torch.where(done, lasts.clamp(max=step), lasts)
            if step + 1 == limit or bool(done.all()):
                break
            logits = self._read(token[..., None], self.width + step)
        ids = torch.stack(drawn, -1).cpu().numpy()
        after = [states[last] for last in lasts.tolist()]
        return list(ids), total.cpu().numpy(), after

    def _probabilities(self, logits: Tensor) -> Tensor:
        """The distribution that is drawn from, as `transformers` computes it."""
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        scores = logits.float().flatten(0, 1)
        ids = self.ids[:1]  # warpers take them, and ignore them
        if self.sampling.temperature != 1:
            scores = TemperatureLogitsWarper(float(self.sampling.temperature))(ids, scores)
        if self.sampling.top_p < 1:
            scores = TopPLogitsWarper(float(self.sampling.top_p))(ids, scores)
        return torch.softmax(scores, -1).view(logits.shape)

    def _read(self, ids: Tensor, start: int) -> Tensor:
        """Read tokens (C, n, T) at places from `start` on; returns the logits of the last, (C, n,
        vocabulary)."""
        steps, heads, size = ids.shape[-1], self.shape.heads, self.shape.head
        place = torch.arange(start, start + steps, device=ids.device)
        end = start + steps
        positions = (place - self.padding).clamp(min=0)
        turns = self.model.turns[positions][:, :, :, None]
        bias = self.bias[..., :end]
        if steps > 1:
            later = torch.arange(end, device=ids.device) > place[:, None]
            # a padding token sees itself, so that its numbers stay finite
            own = torch.arange(end, device=ids.device) == place[:, None]
            bias = bias.masked_fill(later, -torch.inf).masked_fill(own, 0.0)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            split = qkv.view(self.cells, self.n, steps, 3, heads, size)
            both = split.view(*split.shape[:-1], -1, 2)[:, :, :, :2]
            pairs = torch.view_as_complex(both)
            turned = torch.view_as_real(pairs * turns).flatten(-2)
            keys, values = self.cache[layer]
            keys[:, :, :, start:end] = turned[:, :, :, 1].transpose(2, 3)
            values[:, :, :, start:end] = split[:, :, :, 2].transpose(2, 3)
            score = turned[:, :, :, 0].transpose(2, 3) @ keys[:, :, :, :end].mT
            found = torch.softmax(score + bias, -1) @ values[:, :, :, :end]
            flat: Tensor = found.transpose(2, 3).reshape(self.cells, -1, heads * size)
            return flat

        hidden = self.model.hidden(ids.flatten(1), attend, self.weights)
        last: Tensor = hidden.view(self.cells, self.n, steps, -1)[:, :, -1]
        logits: Tensor = self.model.logits(last, self.weights)
        return logits
