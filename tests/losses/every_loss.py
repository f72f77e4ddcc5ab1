"""Every loss of the library, with settings for those that need some."""

import pytest

from experiments import loss_gallery
from sympo import losses

PARAMETERS = {
    "CDPO": [{"assumed_rate": rate} for rate in (0, 0.1, 0.4)],
    "RDPO": [{"assumed_rate": rate} for rate in (0, 0.05, 0.1, 0.4)],
    "ROPO": [{}, {"alpha": 0.5}, {"alpha": 1.0}, {"alpha": 3.0}],
    "IPO": [{}, {"beta": 1.0}],
    "DrDPO": [{}, {"temperature": 0.1}],
    "Forward": [{"assumed_rate": rate} for rate in (0, 0.05, 0.2, 0.4)],
    "GCE": [{"q": q} for q in (0.1, 0.7, 1.0)],
    "HolderDPO": [{"gamma": gamma} for gamma in (0.5, 1.0, 2.0, 3.0)],
    "EXO": [{}, {"label_smoothing": 0.3}],
    "SlopedRamp": [
        {},
        {"slope": 2.0, "offset": 0.5},
        {"slope": 4.0},
        {"offset": 2.0},
        {"offset": -0.5},
        {"slope": 2.0, "offset": -1.0},
    ],
    "TemperedSigmoid": [{}, {"temperature": 0.25}],
}
ALL = {
    f"{name}({parameters or ''})": getattr(losses, name)(**parameters)
    for name in losses.__all__
    if name not in ("MarginLoss", "LossProperties", "by_name")
    for parameters in PARAMETERS.get(name, [{}])
}
# a loss that has a YAML is tested on arrival, exported or not
ALL |= {label: loss for label, loss in loss_gallery.losses().items() if loss not in ALL.values()}
every_loss = pytest.mark.parametrize("loss", ALL.values(), ids=ALL.keys())
