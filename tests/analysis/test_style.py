from sympo.analysis.style import LOSSES, styles


def test_known_losses_differ_in_print_without_colour():
    looks = styles(LOSSES)
    assert len({look.marker for look in looks.values()}) == len(LOSSES)
    assert {name for name, look in looks.items() if look.line == "-"} == {
        "sigmoid",
        "ramp",
        "unhinged",
    }


def test_a_style_does_not_depend_on_what_else_is_drawn():
    assert styles(["ramp"])["ramp"] == styles(LOSSES)["ramp"]
    assert styles(["mine"])["mine"] == styles(["ramp", "mine"])["mine"]
    assert styles(["cdpo (oracle)"])["cdpo (oracle)"] == LOSSES["cdpo"]


def test_variants_of_one_loss_share_its_colour_and_differ():
    names = [f"cdpo (assumed_rate={rate})" for rate in (0.1, 0.2, 0.3, 0.4)]
    looks = styles(names).values()
    assert {look.color for look in looks} == {LOSSES["cdpo"].color}
    assert len({(look.marker, look.line) for look in looks}) == 4
