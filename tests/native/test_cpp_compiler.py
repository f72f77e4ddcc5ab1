"""C++ is compiled once, if it can be; otherwise nothing breaks."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from sympo.native.cpp_compiler import compiled
from tests.conftest import ROOT


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "answer.cpp"
    file.write_text('extern "C" int answer() { return ANSWER; }')
    if compiled([file], (("ANSWER", 1),)) is None:
        pytest.skip("there is no C++ compiler")
    return file


def answer(library: ctypes.CDLL | None) -> int:
    assert library is not None
    return library.answer()


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "sympo").iterdir())


def test_compiled_once_for_each_text_and_its_macros(source: Path, tmp_path: Path) -> None:
    assert answer(compiled([source], (("ANSWER", 42),))) == 42
    before = {file: file.stat().st_mtime_ns for file in kept(tmp_path)}
    assert len(before) == 2
    assert answer(compiled([source], (("ANSWER", 42),))) == 42
    assert {file: file.stat().st_mtime_ns for file in kept(tmp_path)} == before
    source.write_text('extern "C" int answer() { return -ANSWER; }')
    assert answer(compiled([source], (("ANSWER", 42),))) == -42
    assert len(kept(tmp_path)) == 3


def test_a_broken_file_in_the_cache_is_made_again(source: Path, tmp_path: Path) -> None:
    before = kept(tmp_path)
    # elsewhere, because what a process has loaded must not be written to
    code = "from pathlib import Path; "
    code += "from sympo.native.cpp_compiler import compiled; "
    code += f"assert compiled([Path({str(source)!r})], (('ANSWER', 7),))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    (made,) = set(kept(tmp_path)) - set(before)
    made.write_bytes(b"cut short")
    assert answer(compiled([source], (("ANSWER", 7),))) == 7


def test_without_a_compiler_there_is_none(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert compiled([source], (("ANSWER", 43),)) is None


def test_what_does_not_compile_is_none(source: Path, tmp_path: Path) -> None:
    source.write_text("this is no C++")
    assert compiled([source], ()) is None
    assert not [file for file in kept(tmp_path) if file.name.startswith(".")]


def test_a_compiler_that_does_not_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "c++"
    broken.write_bytes(b"\x7fELF but no program")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert compiled([source], (("ANSWER", 45),)) is None


def test_a_cache_that_cannot_be_written_to(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert answer(compiled([source], (("ANSWER", 44),))) == 44
