"""Settings of the process."""

import os

import pytest
import torch

from sympo.process import deterministic_algorithms


def state() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul.allow_tf32,
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark,
    )  # fmt: skip


def test_deterministic_algorithms_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with deterministic_algorithms(False):
        assert state() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with pytest.raises(KeyError), deterministic_algorithms(True):
        assert state() == (True, False, False, True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        raise KeyError
    assert state() == before
