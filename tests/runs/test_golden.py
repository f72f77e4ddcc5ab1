"""Hashes and the defaults behind them never change."""

import pytest

from sympo.identity import leaf
from tests.runs.golden import cases, golden, identity


def test_every_case_is_recorded() -> None:
    assert set(cases()) == set(golden()), "add new cases: python -m tests.runs.golden"


@pytest.mark.parametrize("case", sorted(golden()))
def test_hash_never_changes(case: str) -> None:
    known, found = golden()[case], identity(case)
    for name in sorted(set(known["at_default"]) | found.at_default):
        then, now = leaf(known["settings"], name), leaf(found.settings, name)
        # a new setting has no golden value
        assert then in (None, now), f"the default of {name} was {then} and is {now}"
    assert found.digest(4) == known["hash"], f"{found.hashed} was {known['settings']}"
