"""What a summary records of the machine."""

import torch

from sympo.process import compiled_code
from sympo.runs import provenance


def test_the_environment_is_that_of_this_process() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = provenance.environment("cpu")
    finally:
        torch.set_num_threads(before)
    assert found["threads"] == 2 and found["deterministic"] is False
    assert found["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert found["processor"] and found["compiled"] == sorted(compiled_code)
    assert {"tf32", "cuda", "cudnn"}.isdisjoint(found)


def test_a_gpu_adds_what_its_numbers_depend_on() -> None:
    found = provenance.environment("cuda")
    assert found["tf32"] == {
        "matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32,
    }  # fmt: skip
    assert found["cuda"] == torch.version.cuda
