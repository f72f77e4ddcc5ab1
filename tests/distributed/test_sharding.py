"""A model divided between two processes is the whole model, and no process holds it."""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers
from safetensors import safe_open
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from sympo.distributed import (
    clip_by_global_norm,
    draw_sharded,
    load_into,
    load_sharded,
    save_sharded,
    shard,
)
from sympo.distributed.checkpoint_index import read_index
from sympo.distributed.memory import count, units
from sympo.types import BadInput
from tests.distributed.sharded_models import (
    FAMILIES,
    IDS,
    SIZES,
    adamw,
    difference,
    family,
    gradients,
    llama,
    step,
    whole,
)

NAMES = ("tied", "untied")


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    out = tmp_path_factory.mktemp("sharded")
    for name in NAMES:
        llama(name == "tied").save_pretrained(out / name, max_shard_size="40KB")
    run(root, 2, "all", out)
    return out


def run(root: Path, processes: int, work: str, folder: Path) -> None:
    """Let so many processes do a work of `sharded_worker`."""
    places = [(str(rank), str(processes)) for rank in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.sharded_worker", work, str(folder), *place],
            cwd=root, stderr=subprocess.PIPE, text=True,
        )
        for place in places
    ]  # fmt: skip
    try:
        for one in started:
            _, said = one.communicate(timeout=240)
            assert one.returncode == 0, said
    finally:
        for one in started:
            one.kill()
            one.wait()


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"all-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """Of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """The same passes and steps of one process with the whole model."""
    found = {}
    for name in NAMES:
        model = llama(name == "tied").double().train()
        one = {"logits": model(IDS).logits.detach()}
        one["gradients"] = gradients(model, lambda: model(IDS).logits)  # noqa: B023
        optimizer = adamw(model)
        one["norms"] = [step(model, optimizer, IDS) for _ in range(5)]
        one["trained"] = whole(model.named_parameters())
        found[name] = one
    return found


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_pass_and_step_as_one(
    both: list[dict[str, Any]], alone: dict[str, dict[str, Any]], name: str
) -> None:
    expected = alone[name]
    for rank, found in enumerate(one[name] for one in both):
        assert (found["logits"] - expected["logits"][rank::2]).abs().max() < 1e-12
        for kind in ("gradients", "gradients by parts", "gradients recomputed"):
            assert difference(found[kind], expected["gradients"]) < 1e-9, kind
        assert found["norms"] == pytest.approx(expected["norms"], rel=1e-9)
        assert difference(found["trained"], expected["trained"]) < 1e-9


def test_weights_are_drawn_as_the_whole_models_are(both: list[dict[str, Any]]) -> None:
    model = llama(tied=True)
    for found in (one["precisions"] for one in both):
        assert (found["float32"] - model(IDS).logits).abs().max() < 1e-6
        # two processes add the same gradient
        expected = {
            key: 2 * one for key, one in gradients(model, lambda: model(IDS).logits).items()
        }
        largest = max(float(one.abs().max()) for one in expected.values())
        assert difference(found["float32 gradients"], expected) < 1e-5 * largest
        # of products in bfloat16, and sums over processes in float32
        assert found["types"] == {"torch.float32"}
        assert 0 < (found["bfloat16"].float() - found["float32"]).abs().max() < 0.02
        assert difference(found["bfloat16 gradients"], expected) < 0.05 * largest


def test_no_process_holds_the_model(both: list[dict[str, Any]]) -> None:
    model = llama(tied=True)
    size = sum(p.numel() for p in model.parameters()) * 4
    for found in (one["memory"] for one in both):
        bound = found.pop("bound")
        assert bound < 0.75 * size
        assert set(found) == {"load", "step", "save", "load again", "gather"}
        assert all(0 < largest <= bound for largest in found.values()), (found, bound)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_two_processes_continues_under_one(
    folder: Path, mesh: DeviceMesh, alone: dict[str, dict[str, Any]], name: str
) -> None:
    model = draw_sharded(lambda: llama(name == "tied"), mesh, "float64")
    optimizer = adamw(model)
    assert load_into(folder / f"{name}-checkpoint", model, optimizer) == {"done": 3}
    assert len(list((folder / f"{name}-checkpoint").iterdir())) == 2  # no former contents
    model.train()
    norms = [step(model, optimizer, IDS) for _ in range(2)]
    assert norms == pytest.approx(alone[name]["norms"][3:], rel=1e-9)
    assert difference(whole(model.named_parameters()), alone[name]["trained"]) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_gathered_folder_is_what_transformers_reads(
    folder: Path, both: list[dict[str, Any]], name: str
) -> None:
    place = folder / f"{name}-trained"
    assert len(list(place.glob("*.safetensors"))) > 2
    model = transformers.AutoModelForCausalLM.from_pretrained(place)
    assert model.dtype == torch.float64 and type(model).__name__ == "LlamaForCausalLM"
    assert (model(IDS).logits - both[0][name]["trained logits"]).abs().max() < 1e-12


@pytest.mark.slow
def test_three_processes_continue_from_two(
    root: Path, folder: Path, alone: dict[str, dict[str, Any]]
) -> None:
    run(root, 3, "continued", folder)
    for found in (torch.load(folder / f"continued-{rank}.pt") for rank in range(3)):
        for name in NAMES:
            assert found[name]["norms"] == pytest.approx(alone[name]["norms"][3:], rel=1e-9)
            assert difference(found[name]["trained"], alone[name]["trained"]) < 1e-9


@pytest.mark.slow
def test_families_of_models_are_drawn_and_read_as_whole_ones(root: Path, tmp_path: Path) -> None:
    for name in FAMILIES:
        family(name).save_pretrained(tmp_path / name)
    run(root, 2, "families", tmp_path)
    for found in (torch.load(tmp_path / f"families-{rank}.pt") for rank in range(2)):
        for name in FAMILIES:
            model = family(name)
            assert difference(found[name]["drawn"], whole(model.named_parameters())) == 0, name
            logits = model.eval()(IDS).logits
            assert (found[name]["logits"] - logits).abs().max() < 1e-5, name
    for name in FAMILIES:
        keys = [keys_of(tmp_path / f"{name}{end}") for end in ("", "-gathered")]
        assert keys[0] == keys[1], name
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / f"{name}-gathered")
        expected = whole(family(name).named_parameters())
        assert difference(whole(loaded.named_parameters()), expected) == 0, name


def keys_of(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def test_a_model_without_declared_layers_is_refused(mesh: DeviceMesh) -> None:
    with torch.device("meta"):
        model = llama(tied=True)
    model._no_split_modules = None
    with pytest.raises(BadInput, match="declares no layers"):
        shard(model, mesh)


def test_weights_drawn_outside_of_their_module_are_refused(mesh: DeviceMesh) -> None:
    class Elsewhere(transformers.LlamaForCausalLM):
        def _init_weights(self, module: nn.Module) -> None:
            if module is self:
                for one in self.parameters():
                    transformers.initialization.normal_(one)

    with pytest.raises(BadInput, match="cannot be drawn in parts"):
        draw_sharded(lambda: Elsewhere(transformers.LlamaConfig(**SIZES)), mesh)


def test_files_of_experts_are_refused(mesh: DeviceMesh, tmp_path: Path) -> None:
    config = transformers.MixtralConfig(**SIZES, num_local_experts=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="cannot read it by rows: use distributed=ddp"):
        load_sharded(tmp_path, mesh)


def test_a_damaged_checkpoint_is_refused(mesh: DeviceMesh, tmp_path: Path) -> None:
    model = draw_sharded(lambda: llama(tied=True), mesh)
    optimizer = adamw(model)
    with pytest.raises(BadInput, match=r"lacks checkpoint\.json"):
        load_into(tmp_path, model, optimizer)
    save_sharded(tmp_path, model, optimizer, {})
    for file in (tmp_path / "contents-1").iterdir():
        sound = file.read_bytes()
        file.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
        with pytest.raises(BadInput, match=f"damaged: {file.name} differs"):
            load_into(tmp_path, model, optimizer)
        file.write_bytes(sound)
    load_into(tmp_path, model, optimizer)
    # of a process that was killed while it saved
    unfinished = tmp_path / "contents-2"
    unfinished.mkdir()
    (unfinished / "__7_0.distcp").write_bytes(b"half")
    assert load_into(tmp_path, model, optimizer) == {}
    save_sharded(tmp_path, model, optimizer, {"done": 1})
    assert load_into(tmp_path, model, optimizer) == {"done": 1}
    assert not (unfinished / "__7_0.distcp").exists()
    index = tmp_path / "checkpoint.json"
    for text in ("", "[]", json.dumps({**json.loads(index.read_text()), "contents": "../x"})):
        index.write_text(text)
        with pytest.raises(BadInput, match=r"checkpoint\.json is"):
            load_into(tmp_path, model, optimizer)


def test_no_code_of_an_index_runs(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    file = tmp_path / ".metadata"
    for content in (Code(), {"state_dict_metadata": [Code()]}):
        file.write_bytes(pickle.dumps(content))
        with (
            file.open("rb") as opened,
            pytest.raises(pickle.UnpicklingError, match="does not belong"),
        ):
            read_index(opened)
    assert not (tmp_path / "ran").exists()


def test_files_that_do_not_fit_are_refused(folder: Path, mesh: DeviceMesh, tmp_path: Path) -> None:
    transformers.LlamaConfig(**{**SIZES, "vocab_size": 8}).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"has neither model\.safetensors nor"):
        load_sharded(tmp_path, mesh)
    file = tmp_path / "model.safetensors"
    for content in (b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]"):
        file.write_bytes(content)
        with pytest.raises(BadInput, match="not a complete safetensors file"):
            load_sharded(tmp_path, mesh)
    file.write_bytes(sorted((folder / "tied").glob("*.safetensors"))[0].read_bytes())
    with pytest.raises(BadInput, match=r"has the shape|lacks the weights of"):
        load_sharded(tmp_path, mesh)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadInput, match="not a complete safetensors file"):
        load_sharded(tmp_path, mesh)


def test_gradients_are_divided_and_clipped_as_torch_does() -> None:
    ours, theirs = llama(tied=True), llama(tied=True)
    for model in (ours, theirs):
        torch.autograd.backward(model(IDS).logits.square().sum())
    for most in (0.1, 1e6):
        norm = clip_by_global_norm(ours.parameters(), most, divisor=3.0)
        for one in theirs.parameters():
            assert one.grad is not None
            one.grad /= 3
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), most)
        assert float(norm) == pytest.approx(float(expected), rel=1e-5)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(mine.grad, other.grad, rtol=1e-5, atol=1e-9)


def test_memory_is_counted() -> None:
    with torch.device("meta"):
        model = llama(tied=False)
    # 2 x 61 x 32 embeddings and 32 of the last norm; layers of 2 x (32 x 32 + 16 x 32) attention,
    # 3 x 32 x 56 in the middle, 2 x 32 norms
    assert units(model)["rest"] == 2 * 61 * 32 + 32
    layer = 2 * (32 * 32 + 16 * 32) + 3 * 32 * 56 + 2 * 32
    assert next(iter(units(model).values())) == layer
    total = SIZES["num_hidden_layers"] * layer + 2 * 61 * 32 + 32
    alone, four = count(model, 1), count(model, 4)
    assert alone.parameters == 4 * total and alone.states == 16 * total
    # 61 rows give the largest of four shares 16
    assert four.parameters == total + 2 * 3 * 32 and four.largest == four.parameters + 4 * layer
