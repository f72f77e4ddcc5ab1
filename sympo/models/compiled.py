"""C++ files of this package, compiled for the processor at hand when they are first needed."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")
# of one processor, newest instructions first; the last one is what every compiler takes
NATIVE = (("-march=native",), ("-mcpu=native",), ())


def compiled(source: Path, macros: tuple[tuple[str, str | int], ...]) -> ctypes.CDLL | None:
    """A C++ file as a shared library, with macros defined; None where no compiler can make it.

    It is kept in the user's cache folder under its text, its macros and the processor.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(cache) / "sympo"
    defined = [f"-D{name}={value}" for name, value in macros]
    text = "\n".join([source.read_text(), *defined, *FLAGS, _processor()])
    library = folder / f"{source.stem}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="sympo-") as temporary:
            made = _compile(source, defined, Path(temporary) / "library")
            if made is not None:
                _keep(made, library)
                for place in (library, made):  # one of them may lie where nothing is executed
                    with suppress(OSError):
                        return ctypes.CDLL(str(place))
    except OSError:  # nowhere to write, or a compiler that does not run
        pass
    return None


def _keep(made: Path, library: Path) -> None:
    """Put a library into the cache, whole or not at all; several processes may do so at once."""
    with suppress(OSError):  # a cache that cannot be written to
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
    """What tells processors apart that do not take each other's instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.system()} {platform.machine()} {platform.processor()}"
    named = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(named)}))
