"""Compiles C++ for the processor at hand on first use.

Through ctypes, because `torch.utils.cpp_extension` needs ninja and PyTorch's headers.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from sympo.process import compiled_code

COMPILERS = ("c++", "g++", "clang++")
REGISTERS = resources.files(__package__) / "registers.cpp"
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")
# native instructions first, by either name of the flag; every compiler accepts the last choice
NATIVE = (("-march=native",), ("-mcpu=native",), ())


def compiled(
    sources: Sequence[Traversable | Path], macros: tuple[tuple[str, str | int], ...]
) -> ctypes.CDLL | None:
    """C++ files, read after `registers.cpp` one after another, as a shared library, with macros
    defined; None if a file is missing or no compiler works.

    Cached in the user's cache folder, keyed by the text, the macros and the processor.
    """
    defined = [f"-D{name}={value}" for name, value in macros]
    try:
        # one text: an include would have to be found, and be part of the key
        text = "".join(source.read_text(encoding="utf-8") for source in (REGISTERS, *sources))
        name = sources[-1].name
        library = _cached(name, text, defined)
        with suppress(OSError):
            return _loaded(name, library)
        with tempfile.TemporaryDirectory(prefix="sympo-") as folder:
            # a copy: an installed package may not be a folder of files
            copy = Path(folder) / name
            copy.write_text(text, encoding="utf-8")
            made = _compile(copy, defined, Path(folder) / "library")
            if made is not None:
                _keep(made, library)
                for place in (library, made):  # either file system may be mounted noexec
                    with suppress(OSError):
                        return _loaded(name, place)
    except OSError:  # no source file, nowhere to write, or a compiler that does not run
        pass
    return None


def _loaded(name: str, library: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(library))
    compiled_code.add(name)
    return found


def _cached(name: str, text: str, defined: list[str]) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    key = "\n".join([text, *defined, *FLAGS, _processor()])
    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    return Path(cache) / "sympo" / f"{Path(name).stem}-{digest}"


def _keep(made: Path, library: Path) -> None:
    """Put a library into the cache atomically; several processes may do so at once."""
    with suppress(OSError):  # a read-only cache
        library.parent.mkdir(parents=True, exist_ok=True)
        beside = library.with_name(f".{library.name}.{os.getpid()}")
        shutil.copyfile(made, beside)
        beside.replace(library)


def _compile(source: Path, defined: list[str], library: Path) -> Path | None:
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))), None)
    if compiler is None:
        return None
    for native in NATIVE:
        command = [compiler, *FLAGS, *native, *defined, str(source), "-o", str(library)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return library
    return None


@cache
def _processor() -> str:
    """A description that differs between processors with different instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.system()} {platform.machine()} {platform.processor()}"
    named = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(named)}))
