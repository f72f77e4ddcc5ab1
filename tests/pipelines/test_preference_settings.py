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
