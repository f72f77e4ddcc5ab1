import json
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sympo.analysis import Collection
from sympo.analysis.style import LOSSES, SOLID, declared, paired_styles, styles
from tests.analysis.synthetic import write_run

POLICIES = ["logistic", "hinge", "sigmoid", "ramp", "cdpo", "rdpo", "ropo", "ipo", "dr_dpo"]
# what is left of linear RGB without one kind of cone (Machado, Oliveira and Fernandes, 2009)
SEEN = {
    "everyone": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
XYZ += [[0.0193339, 0.1191920, 0.9503041]]


def test_known_losses_differ_in_print_without_colour():
    looks = styles(LOSSES)
    assert len({look.marker for look in looks.values()}) == len(LOSSES)
    assert {name for name, look in looks.items() if look.line == "-"} == {
        "sigmoid",
        "ramp",
        "unhinged",
        "tempered_sigmoid",
        "holder_dpo",
        "sine",
    }


def cielab(color: str, seen) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(seen @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("reader", SEEN)
def test_losses_of_policies_differ_in_colour_for_every_reader(reader):
    colors = [cielab(LOSSES[loss].color, np.array(SEEN[reader])) for loss in POLICIES]
    assert min(np.linalg.norm(a - b) for a, b in combinations(colors, 2)) > 18


def test_a_style_does_not_depend_on_what_else_is_drawn():
    assert styles(["ramp"])["ramp"] == styles(LOSSES)["ramp"]
    assert styles(["mine"])["mine"] == styles(["ramp", "mine"])["mine"]
    assert styles(["cdpo (oracle)"])["cdpo (oracle)"] == LOSSES["cdpo"]


def test_variants_of_one_loss_share_its_colour_and_differ():
    names = [f"cdpo (assumed_rate={rate})" for rate in (0.1, 0.2, 0.3, 0.4)]
    looks = styles(names).values()
    assert {look.color for look in looks} == {LOSSES["cdpo"].color}
    assert len({(look.marker, look.line) for look in looks}) == 4


def test_what_a_loss_declares_decides_the_family(tmp_path):
    for loss, symmetric in (("mine", True), ("ramp", True), ("tempered_sigmoid", False)):
        folder = write_run(tmp_path, loss=loss)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"symmetric_loss": symmetric}))
    collection = Collection.from_runs(tmp_path)
    assert collection.symmetric == {"mine": True, "ramp": True, "tempered_sigmoid": False}
    with declared(collection.symmetric):
        found = styles(collection.symmetric)
    assert [found[name].family for name in ("mine", "ramp", "tempered_sigmoid")] == [
        True,
        True,
        False,
    ]
    assert found["mine"].line == SOLID != found["tempered_sigmoid"].line
    assert not styles(["mine"])["mine"].family
    # written and read again
    collection.write(tmp_path / "out")
    assert Collection.read(tmp_path / "out").symmetric == collection.symmetric


def test_losses_that_their_names_describe_add_no_column(tmp_path):
    folder = write_run(tmp_path, loss="ramp")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"symmetric_loss": True}))
    assert "symmetric" not in Collection.from_runs(tmp_path).cells


def test_kinds_of_lines_differ_in_lines_of_one_point():
    def looks(*kinds):
        return paired_styles({f"{a}, {b}": (a, b) for a in ("ramp", "logistic") for b in kinds})

    marks = {(s.color, s.marker, s.family) for s in looks("x", "y", "z", "w").values()}
    assert len(marks) == 8
    of_two = looks("x", "y")  # told apart by their fill, each loss keeps its marker
    assert of_two["ramp, x"].marker == of_two["ramp, y"].marker == LOSSES["ramp"].marker
    assert of_two["ramp, x"].family != of_two["ramp, y"].family
