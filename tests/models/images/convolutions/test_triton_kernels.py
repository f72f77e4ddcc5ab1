"""Kernels for a GPU give what plain operators give, and compile for GPUs; none need be there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("triton")


def run(cache: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "TRITON_CACHE_DIR": str(cache), **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kernels_give_what_operators_give(tmp_path: Path) -> None:
    file = Path(__file__).with_name("triton_kernels_checks.py")
    out = run(tmp_path, "-m", "pytest", "-q", str(file), TRITON_INTERPRET="1")
    assert " passed" in out and "skipped" not in out


COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sympo.models.images.convolutions import triton_kernels as kernels

sizes = {"SIDE": 6, "PLACES": kernels.TILES, "IMAGES": kernels.IMAGES, "NUMBERS": kernels.NUMBERS}
numbers = ("height", "width", "h", "w", "n", "channels", "m", "blocks")
for kernel in (kernels._cut, kernels._add_up, kernels._pool, kernels._pool_backward):
    constants = {name: sizes[name] for name in kernel.arg_names if name in sizes}
    signature = {
        name: "constexpr" if name in constants else "i32" if name in numbers
        else "*u8" if name == "winner" else "*fp32"
        for name in kernel.arg_names
    }
    for processor in (75, 80, 90, 100):
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        made = triton.compile(source, target=GPUTarget("cuda", processor, 32))
        assert made.asm["cubin"]
        print(kernel.__name__, processor, made.metadata.shared)
"""


def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    assert len(run(tmp_path, "-c", COMPILES).splitlines()) == 16
