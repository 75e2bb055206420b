"""The tables of cases, and the tiers: the sizes in which the cases run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from suite.cases import PLAIN, Case, require
from suite.networks import resnet50
from suite.networks.architectures import ARCHITECTURES, PRETRAINED
from suite.networks.fixes import FIXES
from suite.networks.phases import GRID, PHASES

ACCURACY = tuple(
    Case(architecture, loss=loss) for architecture in ARCHITECTURES for loss in (PLAIN, "intended")
)
STALL = tuple(
    Case("resnet50", loss=loss, fix=fix)
    for loss in PHASES
    for fix in ("none", "bn-momentum-0.5", "imagenet-inputs")
)
NO_STALL = tuple(Case(name) for name, row in ARCHITECTURES.items() if not row.batch_norm)
ATTACK = tuple(Case(architecture, question="attack") for architecture in ARCHITECTURES)
STEP_TIME = tuple(Case(architecture, question="step-time") for architecture in ARCHITECTURES)
PARITY = (  # without BatchNorm all phases are alike
    *(
        Case(name, loss=loss, question="parity")
        for name in ARCHITECTURES
        for loss in (PLAIN, "intended")
    ),
    Case("resnet50", loss="literal", question="parity"),
)
STATES = tuple(  # the trainings along which the states lie that parity steps from
    Case(name, fix="bn-momentum-0.5" if row.batch_norm else "none")
    for name, row in ARCHITECTURES.items()
)
RANDOM = tuple(Case(architecture, question="random") for architecture in ARCHITECTURES)

LITERAL_FIXES = (  # the others choose the phases themselves, or do the same as one of these
    "none",
    "bn-momentum-0.5",
    "more-iterations",
    "bn-reset",
    "precise-bn",
    "phase-scope",
    "imagenet-inputs",
)
FIXED = (
    *(
        Case("resnet50", fix=fix, question="fixes")
        for fix in FIXES
        if fix != "phase-scope"  # it turns `literal` into `intended`
    ),
    *(Case("resnet50", loss="literal", fix=fix, question="fixes") for fix in LITERAL_FIXES),
    *(
        Case("resnet50", loss=PLAIN, fix=fix, question="fixes")
        for fix in ("none", "bn-momentum-0.5", "precise-bn")
    ),
)
GRID_POINTS = tuple(
    Case("resnet50", loss=loss, question="fixes")
    for loss in GRID
    if loss not in ("moving-kept", "own-updating")  # among `FIXED`: intended, attack in inference
)
VARIED = tuple(Case("resnet50", loss=loss, question="fixes") for loss in PHASES)

PHOTOGRAPHED = tuple(
    Case("resnet50-photos", loss=loss, fix=fix, question="fixes")
    for loss, fixes in (
        ("literal", ("none", "bn-momentum-0.5", "precise-bn", "imagenet-inputs")),
        ("intended", ("none", "bn-momentum-0.5", "imagenet-inputs")),
        (PLAIN, ("none",)),
    )
    for fix in fixes
)

TABLES: Mapping[str, tuple[Case, ...]] = {
    "accuracy": ACCURACY,
    "stall": STALL,
    "no-stall": NO_STALL,
    "precise-bn": tuple(Case("resnet50", loss=loss, fix="precise-bn") for loss in PHASES),
    "attack": ATTACK,
    "step-time": STEP_TIME,
    "parity": PARITY,
    "states": STATES,
    "random": RANDOM,
    "traps": (Case("resnet50", question="traps"),),
    "fixes": FIXED,
    "grid": GRID_POINTS,
    "low-rate": (*VARIED, Case("resnet50", "literal", "precise-bn", question="fixes")),
    "small-batch": VARIED,
    "large-batch": VARIED,
    "large-images": VARIED,
    "linear-head": tuple(replace(case, architecture="resnet50-linear") for case in VARIED),
    "photographs": PHOTOGRAPHED,
    "no-change": tuple(
        case for case in STALL if case.loss == "literal" and case.fix == "bn-momentum-0.5"
    ),
    "full-size": tuple(case for case in STEP_TIME if case.architecture in PRETRAINED),
}
"""The cases that are run together, at their published settings; tiers override fields."""


class Tier(NamedTuple):
    """One size of the benchmarks: the fields in which it differs from the published settings.

    Attributes:
        common: Fields of every case.
        architectures: Fields by architecture; an architecture that is missing is not part of the
            tier.
        tables: Fields by table of `TABLES`; a table that is missing is not part of the tier.
        gpu: True where the cases are too large for a CPU.
        rehearsal: True where a CPU may stand in for that GPU: few steps, to try the machinery.
    """

    common: Mapping[str, Any]
    architectures: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Mapping[str, Any]]
    gpu: bool = False
    rehearsal: bool = False


UNTRAINED = {"weights": "random", "pretraining_steps": 0, "epochs": 1}
ATTACKED = {**UNTRAINED, "train_images": 64, "test_images": 256}
TIMED = {**UNTRAINED, "train_images": 22 * 32, "test_images": 64}  # 2 steps warm up, 20 count
FEW_STEPS = {**UNTRAINED, "train_images": 4 * 32, "test_images": 64}  # of a full-size network
DRAWN = {**UNTRAINED, "train_images": 64, "test_images": 64}
TRACED = {  # three steps from each of four states, at the published rate
    **UNTRAINED,
    "weights": "states",
    "train_images": 4 * 3 * 32,
    "test_images": None,
    "learning_rate": 0.001,
}

QUESTIONED: Mapping[str, Mapping[str, Any]] = {
    "accuracy": {},
    "stall": {},
    "no-stall": {},
    "no-change": {},
    "attack": ATTACKED,
    "step-time": TIMED,
    "traps": {**UNTRAINED, "train_images": 64, "test_images": 64},
}
"""Fields of the tables that every tier but those of the studies runs."""

SAMPLED: Mapping[str, Mapping[str, Any]] = {
    name: fields for name, fields in (*QUESTIONED.items(), ("precise-bn", {})) if name != "traps"
}
"""Fields of the tables of a tier that a GPU runs in minutes."""

STUDIED: Mapping[str, Mapping[str, Any]] = {
    "fixes": {},
    "grid": {},
    "low-rate": {"learning_rate": 0.001},
    "small-batch": {"batch_size": 16},
    "large-batch": {"batch_size": 64},
    "large-images": {"size_px": 48},
    "linear-head": {},
    "photographs": {"learning_rate": 0.001},
}
"""Fields of the tables of the studies: each varies one setting."""

REDUCED_RESNET = {
    "width": 0.25,
    "blocks": (1, 1, 1, 1),
    "weights": "surrogate",
    "pretraining_steps": 600,
    "train_images": 6400,
    "epochs": 1,
}
PHOTOGRAPHED_RESNET = {"weights": "photographs", "train_images": 9600, "epochs": 1}
REHEARSED = {"weights": "surrogate", "pretraining_steps": 2}  # in place of ImageNet's weights
SMALL_RATE = 0.01  # ten times the published one: the small tier has a hundredth of its steps

TIERS: Mapping[str, Tier] = {
    "quickstart": Tier(
        common={
            "data": "synthetic",
            "size_px": 32,
            "learning_rate": SMALL_RATE,
            "test_images": 1000,
        },
        architectures={
            "lenet5": {"train_images": 8000, "epochs": 3},
            "resnet50": REDUCED_RESNET,
        },
        tables=QUESTIONED,
    ),
    "small": Tier(
        common={"size_px": 32, "learning_rate": SMALL_RATE, "test_images": 1000},
        architectures={
            "lenet5": {"train_images": 9600, "epochs": 4},
            "alexnet": {  # from random weights it leaves its plateau anywhere in 200 to 600 steps
                "width": 0.5,
                "weights": "surrogate",
                "pretraining_steps": 300,
                "train_images": 9600,
                "epochs": 6,
            },
            "vgg19": {
                "width": 0.25,
                "weights": "surrogate",
                "pretraining_steps": 600,
                "train_images": 9600,
                "epochs": 1,
                "learning_rate": 0.001,  # larger ones kill the units of so narrow a network
            },
            "resnet50": REDUCED_RESNET,
        },
        tables={
            **QUESTIONED,
            "full-size": {"width": 1.0, "blocks": resnet50.BLOCKS, **FEW_STEPS},
            "parity": TRACED,
            "states": {},
            "random": DRAWN,
        },
    ),
    "study": Tier(
        common={"size_px": 32, "learning_rate": SMALL_RATE, "test_images": 1000},
        architectures={
            "resnet50": REDUCED_RESNET,
            "resnet50-linear": REDUCED_RESNET,
            "resnet50-photos": PHOTOGRAPHED_RESNET,
        },
        tables=STUDIED,
    ),
    "full": Tier(
        common={},
        architectures={
            "lenet5": {},
            "alexnet": {},
            "vgg19": {"weights": "imagenet"},
            "resnet50": {"weights": "imagenet"},
            "lenet5-float16": {},
            "resnet50-float16": {"weights": "imagenet"},
            "resnet50-bfloat16": {"weights": "imagenet"},
        },
        tables=QUESTIONED,
        gpu=True,
    ),
    "full-rehearsal": Tier(
        common={
            "data": "synthetic",
            "size_px": 32,
            "batch_size": 8,
            "train_images": 86,
            "test_images": 64,
            "epochs": 1,
        },
        architectures={
            "lenet5": {"epochs": 2},  # between which a checkpoint is made
            "alexnet": {},
            "vgg19": REHEARSED,
            "resnet50": REHEARSED,
            "lenet5-float16": {},
            "resnet50-float16": REHEARSED,
            "resnet50-bfloat16": REHEARSED,
        },
        tables={
            **QUESTIONED,
            "attack": {**ATTACKED, "test_images": 64},
            "step-time": {**TIMED, "train_images": 4 * 8},
        },
        gpu=True,
        rehearsal=True,
    ),
    "sample": Tier(
        common={"train_images": 9600, "test_images": 1000},
        architectures={
            "lenet5": {"learning_rate": SMALL_RATE},  # a quarter of the published steps
            "alexnet": {"learning_rate": SMALL_RATE},
            "vgg19": {"weights": "surrogate", "pretraining_steps": 600, "epochs": 1},
            "resnet50": {"weights": "surrogate", "pretraining_steps": 600, "epochs": 1},
        },
        tables=SAMPLED,
        gpu=True,
    ),
    "rehearsal": Tier(
        common={"train_images": 86, "test_images": 64, "epochs": 1, "batch_size": 8},
        architectures={
            "lenet5": {},
            "alexnet": {},
            "vgg19": REHEARSED,
            "resnet50": REHEARSED,
        },
        tables={
            **SAMPLED,
            "attack": {**ATTACKED, "test_images": 64},
            "step-time": {**TIMED, "train_images": 4 * 8},
        },
        gpu=True,
        rehearsal=True,
    ),
    "full-study": Tier(
        common={},
        architectures={"resnet50": {"weights": "imagenet"}},
        tables={"fixes": {}, "grid": {}},
        gpu=True,
    ),
}
"""The benchmarks in three sizes; the studies of the fixes have the small and the full size.

`sample` is the full tier where a GPU is there for minutes and nothing can be downloaded: the same
networks and images, fewer of them; `rehearsal` tries that on a CPU, and `full-rehearsal` the full
tier: all of its cases, on signs that are drawn, of the smallest size that these networks take.
"""


def table(name: str, *, tier: str) -> tuple[Case, ...]:
    """List the cases of one table in the size of one tier; none where the tier leaves it out.

    Args:
        name: A key of `TABLES`.
        tier: A key of `TIERS`.

    Raises:
        ValueError: If `name` or `tier` is no such key.
    """
    require("name", name, TABLES)
    require("tier", tier, TIERS)
    size = TIERS[tier]
    if name not in size.tables:
        return ()
    rows = (row for row in TABLES[name] if row.architecture in size.architectures)
    return tuple(_resized(row, name, tier) for row in rows)


def asked(tier: str) -> Mapping[str, Case]:
    """List every case of one tier, by name.

    Raises:
        ValueError: If `tier` is no key of `TIERS`.
    """
    return {str(row): row for name in TABLES for row in table(name, tier=tier)}


def _resized(row: Case, name: str, tier: str) -> Case:
    """Give `row` the fields of a tier."""
    size = TIERS[tier]
    return replace(
        row, **{**size.common, **size.architectures[row.architecture], **size.tables[name]}
    )
