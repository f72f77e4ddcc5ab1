"""Variable-length attention in plain tensors, with the arguments of torch's operators."""

import math
from itertools import pairwise

import torch
from torch import Tensor


def emulate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cum_seq_q: Tensor,
    cum_seq_k: Tensor,
    max_q: int,
    max_k: int,
    /,
    *,
    scale: float | None,
    window_size: tuple[int, int],
) -> Tensor:
    """Causal attention aligned at the bottom right, sequence by sequence; refuses arguments that a
    kernel would misread. Half precision is rounded where FlashAttention rounds."""
    assert query.dtype == key.dtype == value.dtype
    assert query.shape[1] % key.shape[1] == 0 and key.shape == value.shape
    left, right = window_size
    assert right == 0 and left >= -1
    places = []
    for cumulated, longest, tokens in ((cum_seq_q, max_q, query), (cum_seq_k, max_k, key)):
        assert cumulated.dtype == torch.int32 and cumulated.device == query.device
        starts = cumulated.tolist()
        lengths = [end - start for start, end in pairwise(starts)]
        assert starts[0] == 0 and starts[-1] == len(tokens)
        assert min(lengths) > 0 and max(lengths) == longest and type(longest) is int
        places.append(list(pairwise(starts)))
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scale = 1 / math.sqrt(query.shape[2]) if scale is None else scale
    found = []
    for (q0, q1), (k0, k1) in zip(places[0], places[1], strict=True):
        found.append(_one(query[q0:q1], key[k0:k1], value[k0:k1], scale, left))
    return torch.cat(found)


def top_left(
    query: Tensor, key: Tensor, value: Tensor, *args: object, **settings: object
) -> Tensor:
    """What an operator gives whose mask is aligned at the top left."""
    cum_seq_q, cum_seq_k = (x.tolist() for x in args[:2])  # type: ignore[attr-defined]
    scale = settings["scale"]
    assert isinstance(scale, float)
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    found = []
    for i in range(len(cum_seq_q) - 1):
        own = query[cum_seq_q[i] : cum_seq_q[i + 1]]
        seen = slice(cum_seq_k[i], cum_seq_k[i] + len(own))
        found.append(_one(own, key[seen], value[seen], scale, -1))
    return torch.cat(found)


def _one(query: Tensor, key: Tensor, value: Tensor, scale: float, left: int) -> Tensor:
    """One sequence: (queries, heads, size), (keys, heads, size) -> (queries, heads, size)."""
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = scale * torch.einsum("qhd,khd->hqk", query.to(wide), key.to(wide))
    last = torch.arange(len(query))[:, None] + len(key) - len(query)
    behind = last - torch.arange(len(key))
    seen = (behind >= 0) & ((behind <= left) if left >= 0 else True)
    scores = scores.masked_fill(~seen, -torch.inf)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    total = weights.sum(-1).T[..., None]
    rounded = weights.to(query.dtype).to(wide)
    return (torch.einsum("hqk,khd->qhd", rounded, value.to(wide)) / total).to(query.dtype)
