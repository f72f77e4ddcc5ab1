"""One colour, marker and line per loss, the same in every figure.

Colours: Okabe and Ito (2008), then Paul Tol's muted set, both safe for colour-blind readers. Those
of the losses in policy figures are at least 18 apart in CIELAB, also under simulated protanopia,
deuteranopia and tritanopia (tested). Symmetric losses are a family in grey print too: solid lines
and filled markers; every other loss has a broken line and pale markers.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import cycle, product
from types import MappingProxyType
from typing import Literal

import numpy as np
from matplotlib.colors import to_hex, to_rgb

SOLID, DASHED, DOTTED, DASHDOT = "-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2))
DASHDOTDOT, LONG = (0, (5, 1.5, 1.2, 1.5, 1.2, 1.5)), (0, (9, 2.5))
Dashes = str | tuple[int, tuple[float, ...]]
Marker = str | tuple[int, Literal[0, 1, 2], int]


@dataclass(frozen=True)
class LossStyle:
    """The look of a loss."""

    color: str
    marker: Marker
    line: Dashes
    family: bool = False

    @property
    def face(self) -> str:
        """The fill of markers: the colour in the symmetric family, else a pale tint of it."""
        rgb = np.array(to_rgb(self.color))
        return self.color if self.family else to_hex(tuple(0.3 * rgb + 0.7))


# in the order of legends
LOSSES = {
    "sigmoid": LossStyle("#0072B2", "o", SOLID, family=True),
    "ramp": LossStyle("#D55E00", "s", SOLID, family=True),
    "unhinged": LossStyle("#009E73", "^", SOLID, family=True),
    "tempered_sigmoid": LossStyle("#00BBCC", (5, 1, 180), SOLID, family=True),
    "holder_dpo": LossStyle("#AA3377", "H", SOLID, family=True),
    "sine": LossStyle("#6A3D9A", (4, 1, 0), SOLID, family=True),
    "logistic": LossStyle("#000000", "v", DASHED),
    "hinge": LossStyle("#E69F00", "D", DASHED),
    "square": LossStyle("#56B4E9", "P", DASHED),
    "exponential": LossStyle("#CC79A7", "X", DASHED),
    "truncated_hinge": LossStyle("#999933", "<", DASHDOT),
    "sloped_ramp": LossStyle("#994F00", (5, 0, 180), DASHDOT),
    "savage": LossStyle("#44AA99", ">", DASHDOT),
    "gce": LossStyle("#BBAA00", (6, 1, 0), DASHED),
    "exo": LossStyle("#EE6677", "8", DOTTED),
    "cdpo": LossStyle("#661100", "p", DOTTED),
    "rdpo": LossStyle("#332288", "h", DASHDOTDOT),
    "forward": LossStyle("#225522", (8, 1, 0), DASHDOTDOT),
    "ropo": LossStyle("#888888", "d", LONG),
    "ipo": LossStyle("#8C564B", "*", DASHED),
    "dr_dpo": LossStyle("#66CCEE", (4, 1, 45), DASHDOT),
}
_OTHER_COLORS = ["#AA4499", "#6699CC", "#117733", "#882255", "#DDAA33", "#004488"]
# of the second setting of lines in comparisons
_KINDS: list[Dashes] = [SOLID, DASHED, DOTTED, DASHDOT, LONG, DASHDOTDOT]
_KIND_MARKERS: list[Marker] = ["o", "s", "^", "D", "v", "P"]
# estimates, from which figures are drawn, hold the names of losses only
_SYMMETRIC: ContextVar[Mapping[str, bool]] = ContextVar("symmetric", default=MappingProxyType({}))
_SHAPES = list(product("vDPX<>phd8*", [DASHED, DOTTED, DASHDOT]))


def styles(variants: Iterable[str]) -> dict[str, LossStyle]:
    """The style of each variant, known losses first, then by name.

    An unknown name gets its style from its hash; `cdpo (assumed_rate=0.2)` keeps the colour of cdpo
    and gets marker and line from its hash. If two in one figure clash, the later takes the next
    free style. Within `declared`, what a loss declares decides whether it has the family's look.
    """
    chosen: dict[str, LossStyle] = {}
    for name in ordered(variants):
        known = LOSSES.get(name) or LOSSES.get(name.removesuffix(" (oracle)"))
        look = known or _free(name, {(s.marker, s.line) for s in chosen.values()})
        symmetric = _SYMMETRIC.get().get(name, look.family)
        if symmetric != look.family:
            look = replace(look, line=SOLID if symmetric else DASHED, family=symmetric)
        chosen[name] = look
    return chosen


@contextmanager
def declared(symmetric: Mapping[str, bool]) -> Iterator[None]:
    """Draw variants as their losses declare themselves: symmetric or not."""
    token = _SYMMETRIC.set(symmetric)
    try:
        yield
    finally:
        _SYMMETRIC.reset(token)


def ordered(variants: Iterable[str]) -> list[str]:
    """Symmetric losses first, then the other known ones, then the rest by name."""
    rank = {name: place for place, name in enumerate(LOSSES)}
    return sorted(set(variants), key=lambda name: (rank.get(_loss(name), len(rank)), name))


def _loss(variant: str) -> str:
    return variant.split(" (")[0]


def _free(name: str, taken: set[tuple[Marker, Dashes]]) -> LossStyle:
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    shapes = [_SHAPES[(number + step) % len(_SHAPES)] for step in range(len(_SHAPES))]
    marker, line = next((shape for shape in shapes if shape not in taken), shapes[0])
    color = _OTHER_COLORS[number // len(_SHAPES) % len(_OTHER_COLORS)]
    base = LOSSES.get(_loss(name), LossStyle(color, marker, line))
    return replace(base, marker=marker, line=base.line if base.family else line)


def paired_styles(looks: Mapping[str, tuple[str, str]]) -> dict[str, LossStyle]:
    """The style of each line whose colour and kind show different settings.

    looks: of each label, the value that gives colour and marker, such as a loss, and the one that
    gives line and fill, and the marker if they are more than two; empty if there is only one. In
    the order of the legend.
    """
    colours = list(dict.fromkeys(colour for colour, _ in looks.values()))
    kinds = list(dict.fromkeys(kind for _, kind in looks.values()))
    known = [name for name in colours if _loss(name) in LOSSES]
    base = styles(colours) if known else dict(zip(colours, cycle(LOSSES.values()), strict=False))
    if len(kinds) == 1:
        return {label: base[colour] for label, (colour, _) in looks.items()}
    found = {}
    for label, (colour, kind) in looks.items():
        place = kinds.index(kind)
        # the first kind is solid and filled, the others are broken and pale
        look = replace(base[colour], line=_KINDS[place % len(_KINDS)], family=place % 2 == 0)
        # lines of one point show neither line nor more than two fills
        marker = _KIND_MARKERS[place % len(_KIND_MARKERS)] if len(kinds) > 2 else look.marker
        found[label] = replace(look, marker=marker)
    return found
