"""`job.compile=auto` by hand-counted runs."""

from typing import Any

import pytest

from sympo.pipelines import compiling
from sympo.pipelines.policy import PolicyJob
from sympo.types import BadArgument

LLAMA_1B = 1_235_814_400
HH = 160_000 * 300  # pairs of the paper's run, tokens of a pair with a shared prompt


def test_flops_by_hand() -> None:
    assert compiling.flops(10, 10, 3) == 6 * 10 * 3
    assert compiling.flops(10, 2, 3) == (4 * 10 + 2 * 2) * 3  # adapters
    assert compiling.flops(10, 0, 3) == 2 * 10 * 3  # scored only


def test_seconds_saved_by_hand() -> None:
    # 1000 s at 36% of the peak become 1000 / 1.28
    assert compiling.seconds_saved(3.6e17, "bfloat16") == pytest.approx(1000 - 1000 / 1.28)
    assert compiling.seconds_saved(5e16, "float32") == pytest.approx(1000 - 1000 / 1.28)


def test_long_runs_on_cuda_compile() -> None:
    work = compiling.flops(LLAMA_1B, LLAMA_1B, HH)
    assert compiling.decided("auto", "cuda", work, "bfloat16") == (
        True,
        "layers are compiled: that saves some 216 s of 3.6e+17 FLOP and takes up to 60 s",
    )
    wanted, line = compiling.decided("auto", "cuda", work / 4, "bfloat16")
    assert not wanted and line.startswith("layers are not compiled: that saves some 54 s")
    # slower products take longer, so that the same work pays
    assert compiling.decided("auto", "cuda", work / 4, "float32")[0]


def test_a_cpu_does_not_compile_and_says_nothing() -> None:
    assert compiling.decided("auto", "cpu", 1e30, "float32") == (False, "")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("setting", [True, False])
def test_a_users_choice_stays(setting: bool, device: str) -> None:
    assert compiling.decided(setting, device, 1e30, "bfloat16") == (setting, "")


@pytest.mark.parametrize("setting", ["yes", 1, None])
def test_other_values_are_refused(setting: Any) -> None:
    assert PolicyJob().compile == "auto"
    for allowed in ("auto", True, False):
        assert PolicyJob(compile=allowed).compile == allowed
    with pytest.raises(BadArgument, match="use one of auto, true, false"):
        PolicyJob(compile=setting)


class _Scorer:
    """Records whether it was compiled."""

    divided = False

    def __init__(self, failure: str = "") -> None:
        import torch

        self.model = torch.nn.Linear(3, 4, bias=False)
        self.device, self.failure, self.longest = torch.device("cpu"), failure, 0

    def compile_layers(self, longest: int) -> str:
        self.longest = longest
        return self.failure


def test_a_failure_is_reported() -> None:
    made: Any = _Scorer()
    assert compiling.compile_layers(True, made, "bfloat16", tokens=5, longest=7) == ""
    assert made.longest == 7
    unused: Any = _Scorer()
    assert compiling.compile_layers("auto", unused, "bfloat16", tokens=5, longest=7) == ""
    assert unused.longest == 0
    failing: Any = _Scorer("Unsupported: a part")
    assert compiling.compile_layers(True, failing, "bfloat16", tokens=5, longest=7) == (
        "layers are not compiled, as that fails: Unsupported: a part"
    )
