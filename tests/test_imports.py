"""Imports run one way, and the light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# room -> the rooms whose modules it may import; a room is the longest matching prefix
MAY_IMPORT = {
    "sympo.types": set(),
    "sympo.numeric": set(),
    "sympo.seeding": set(),
    "sympo.outcomes": set(),
    "sympo.statistics": {"sympo.seeding"},
    "sympo.metrics": set(),
    "sympo.process": set(),
    "sympo.ranges": {"sympo.types"},
    "sympo.disk": {"sympo.types"},
    "sympo.validity": {"sympo.metrics", "sympo.disk"},
    "sympo.report_settings": {"sympo.types", "sympo.disk", "sympo.metrics"},
    "sympo.sampling.settings": {"sympo.types", "sympo.ranges"},
    "sympo.sampling.responses": {"sympo.types"},
    "sympo.protocols": {
        "sympo.types", "sympo.sampling.settings", "sympo.sampling.responses",
        "sympo.pipelines.cell",  # for its name alone
        "sympo.identity", "sympo.ranges", "sympo.judges.protocol",
    },
    "sympo.losses": {"sympo.types", "sympo.ranges", "sympo.protocols"},
    "sympo.margins": {"sympo.types", "sympo.ranges", "sympo.protocols"},
    "sympo.objective": {"sympo.protocols"},
    "sympo.noise": {
        "sympo.types", "sympo.protocols", "sympo.seeding", "sympo.numeric", "sympo.ranges",
    },
    "sympo.data": {
        "sympo.types", "sympo.protocols", "sympo.seeding", "sympo.numeric", "sympo.ranges",
    },
    "sympo.native": {"sympo.process"},
    "sympo.distributed": {"sympo.types", "sympo.disk"},
    "sympo.models": set(),
    "sympo.models.images": {
        "sympo.types", "sympo.seeding", "sympo.ranges", "sympo.protocols", "sympo.native",
    },
    "sympo.models.texts": {
        "sympo.types", "sympo.seeding", "sympo.ranges", "sympo.protocols", "sympo.native",
        "sympo.identity", "sympo.runs",  # for converted weights, which are a stage
        "sympo.process", "sympo.distributed", "sympo.disk",
    },
    "sympo.sampling": {
        "sympo.types", "sympo.seeding", "sympo.ranges", "sympo.models.texts", "sympo.protocols",
        "sympo.sampling.settings", "sympo.sampling.responses", "sympo.distributed",
    },
    "sympo.evaluation": {
        "sympo.types", "sympo.disk", "sympo.numeric", "sympo.seeding", "sympo.statistics",
        "sympo.protocols",
    },
    "sympo.training": {
        "sympo.types", "sympo.seeding", "sympo.margins", "sympo.models.texts", "sympo.evaluation",
        "sympo.ranges", "sympo.outcomes", "sympo.objective", "sympo.protocols",
        "sympo.distributed",
    },
    "sympo.cleaning": {
        "sympo.types", "sympo.ranges", "sympo.seeding", "sympo.protocols", "sympo.evaluation",
    },
    "sympo.integrations": {
        "sympo.types", "sympo.losses", "sympo.margins", "sympo.objective", "sympo.protocols",
    },
    "sympo.runs": {
        "sympo.types", "sympo.identity", "sympo.disk", "sympo.validity", "sympo.outcomes",
        "sympo.evaluation", "sympo.classes", "sympo.secrets", "sympo.process", "sympo.distributed",
    },
    "sympo.tracking": {
        "sympo.types", "sympo.identity", "sympo.metrics", "sympo.outcomes", "sympo.evaluation",
        "sympo.runs", "sympo.analysis",
    },
    "sympo.judges.protocol": set(),
    "sympo.judges": {
        "sympo.classes", "sympo.secrets",
        "sympo.judges.protocol", "sympo.types", "sympo.identity", "sympo.seeding", "sympo.models",
        "sympo.evaluation", "sympo.runs", "sympo.disk", "sympo.protocols", "sympo.ranges",
    },
    "sympo.pipelines.cell": {"sympo.types", "sympo.identity", "sympo.runs"},
    "sympo.pipelines": {
        "sympo.pipelines.cell",
        "sympo.types", "sympo.identity", "sympo.seeding", "sympo.ranges", "sympo.disk",
        "sympo.outcomes",
        "sympo.process", "sympo.objective", "sympo.protocols", "sympo.losses", "sympo.margins",
        "sympo.noise", "sympo.data", "sympo.models", "sympo.sampling", "sympo.evaluation",
        "sympo.training", "sympo.runs", "sympo.judges", "sympo.numeric", "sympo.cleaning",
        "sympo.secrets", "sympo.tracking", "sympo.distributed",
    },
    "sympo.analysis": {
        "sympo.types", "sympo.runs", "sympo.evaluation", "sympo.outcomes", "sympo.statistics",
        "sympo.judges.protocol", "sympo.disk", "sympo.validity", "sympo.metrics",
        "sympo.report_settings",
    },
    "sympo.lazy": set(),
    "sympo.secrets": set(),
    "sympo.moved": set(),
    "sympo.classes": {"sympo.moved"},
    "sympo.identity": {"sympo.types", "sympo.classes"},
    "sympo": {"sympo"},  # names, none of which it loads by itself
    "experiments": {"sympo"},
    "hydra_plugins": {"sympo", "experiments"},
    "run": {"sympo", "experiments"},
}  # fmt: skip


def room(module: str) -> str | None:
    fitting = [name for name in MAY_IMPORT if module == name or module.startswith(name + ".")]
    return max(fitting, key=len) if fitting else None


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(root: Path) -> list[Path]:
    folders = ("sympo", "experiments", "hydra_plugins")
    return [root / "run.py", *(file for name in folders for file in (root / name).rglob("*.py"))]


def test_imports_run_one_way(root: Path) -> None:
    for path in sources(root):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        here = room(module)
        assert here is not None, f"{path} is in no room"
        for name in imported(path):
            there = room(name)
            if there not in (None, here):
                allowed = {"sympo.lazy", *MAY_IMPORT[here]}
                fits = [r for r in allowed if there == r or there.startswith(f"{r}.")]
                assert fits, f"{module} imports {name}, but {here} must not import {there}"


def test_library_imports_no_hydra(root: Path) -> None:
    for path in (root / "sympo").rglob("*.py"):
        heavy = {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize(
    "code",
    [
        "import sympo.analysis",
        "import sympo.models.images, sympo.models.texts, sympo.sampling, sympo.protocols.models",
        *(
            f"import runpy, sys; sys.argv = ['run.py', {flags}]\n"
            "try:\n    runpy.run_path('run.py', run_name='__main__')\n"
            "except SystemExit as end:\n    assert not end.code, end.code"
            for flags in ("'--help'", "'--cfg', 'job'")
        ),
    ],
    ids=["analysis", "rooms", "help", "cfg"],
)
def test_light_commands_import_no_torch(root: Path, code: str) -> None:
    check = "\nimport sys; assert 'torch' not in sys.modules and 'wandb' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code + check], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
