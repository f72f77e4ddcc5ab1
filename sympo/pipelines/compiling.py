"""Whether compiling a model's layers saves more time than it takes: the setting `compile`."""

from typing import Literal

from sympo.protocols.models import Scorer
from sympo.types import BadArgument

Compile = bool | Literal["auto"]

# measured on one H200 with Llama-3.2 shapes (docs/speed.md); a minute is the longest start seen
GAIN, SECONDS = 0.28, 60.0
# FLOP/s that training reaches at best without compiling there, 36% of the bfloat16 peak; slower
# GPUs and smaller models take longer, so that compiling saves them more
RATES = {"bfloat16": 3.6e14, "float32": 5e13}


def check(setting: object) -> None:
    """Raise BadArgument if this is not a value of `compile`."""
    if setting != "auto" and not isinstance(setting, bool):
        raise BadArgument("compile", setting, "is not known: use one of auto, true, false")


def flops(weights: int, trained: int, tokens: int) -> float:
    """FLOPs of the products with weights for so many tokens: 2 a weight forward and, if any weight
    is trained, 2 backward and 2 for each trained one."""
    return tokens * (2.0 * weights + (2.0 * weights + 2.0 * trained if trained else 0.0))


def seconds_saved(work: float, precision: str) -> float:
    """The least that compiled layers save of so many FLOPs: t - t / (1 + gain)."""
    return work / RATES[precision] * GAIN / (1 + GAIN)


def decided(setting: Compile, device: str, work: float, precision: str) -> tuple[bool, str]:
    """Whether to compile, and why, in one line; empty if there was nothing to decide.

    device: its type, such as `cuda`. work: FLOPs that are ahead.
    """
    if setting != "auto":
        return setting, ""
    if device != "cuda":  # 2 to 4% on a CPU
        return False, ""
    saved = seconds_saved(work, precision)
    pays = saved > SECONDS
    return pays, (
        f"layers are {'' if pays else 'not '}compiled: that saves some {saved:.0f} s of "
        f"{work:.1e} FLOP and takes up to {SECONDS:.0f} s"
    )


def compile_layers(
    setting: Compile, scorer: Scorer, precision: str, tokens: int, longest: int
) -> str:
    """Compile a scorer's layers if its setting says so; returns a line about it, or an empty one.

    tokens: that the scorer will be trained on, or will score if its weights are frozen. longest:
    tokens of a sequence.
    """
    if scorer.divided:
        return ""
    sizes = [(p.numel(), p.requires_grad) for p in scorer.model.parameters()]
    weights = sum(size for size, _ in sizes)
    work = flops(weights, sum(size for size, trained in sizes if trained), tokens)
    wanted, line = decided(setting, scorer.device.type, work, precision)
    if wanted and (failure := scorer.compile_layers(longest)):
        return f"layers are not compiled, as that fails: {failure}"
    return line
