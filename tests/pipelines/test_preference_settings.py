"""Settings of the jobs that train on pairs of texts."""

import pytest

from sympo.pipelines.policy import PolicyJob
from sympo.pipelines.preference import PreferenceJob
from sympo.pipelines.text_reward_model import TextRewardModelJob
from sympo.types import BadArgument


@pytest.mark.parametrize("job", [PolicyJob, TextRewardModelJob])
def test_attention(job: type[PreferenceJob]) -> None:
    assert job().attention == "auto"
    assert job(attention="grouped").attention == "grouped"
    with pytest.raises(BadArgument, match=r"^attention=flex was removed: use attention=auto$"):
        job(attention="flex")
    with pytest.raises(BadArgument, match="attention=eager is not known: use one of auto, grouped"):
        job(attention="eager")


@pytest.mark.parametrize("job", [PolicyJob, TextRewardModelJob])
def test_tokens_per_pass(job: type[PreferenceJob]) -> None:
    assert job().tokens_per_pass == "auto"
    assert job(tokens_per_pass=512).tokens_per_pass == 512
    words = "is not allowed: it must be a whole number, or be auto"
    with pytest.raises(BadArgument, match=f"^tokens_per_pass=atuo {words}$"):
        job(tokens_per_pass="atuo")  # type: ignore[arg-type]
    with pytest.raises(BadArgument, match=r"^tokens_per_pass=0 is not allowed: it must lie in \[1"):
        job(tokens_per_pass=0)
