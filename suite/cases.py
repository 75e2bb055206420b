"""The cases: what is trained, under which loss, phases and fix, and in which bands it must end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from suite.architectures import ARCHITECTURES, PRETRAINED, resnet50
from suite.bands import Band, bands_of
from suite.fixes import FIXES, require_fix
from suite.phases import GRID, PHASES, Phases

DATA = ("gtsrb", "synthetic")

PLAIN = "plain"
"""The plain cross-entropy, where the other losses carry the name of their phase policy."""

QUESTIONS = ("training", "fixes", "attack", "step-time", "parity", "traps")
"""What is done: train and evaluate a model, the same and find out what its fix is worth, attack it
untrained, time its steps, trace them, or observe what differs between releases."""


@dataclass(frozen=True)
class Case:
    """One row: a model, a loss and a fix on some data, and the bands it must end in.

    Attributes:
        architecture: A key of `suite.architectures.ARCHITECTURES`.
        loss: ``"plain"``, or the row of `PHASES` or `GRID` the adversarial loss runs under.
        fix: A key of `suite.fixes.FIXES`, or another momentum; "none" is the control.
        question: One of `QUESTIONS`.
        epsilon: FGSM step in the max norm; pixels are in [0, 1].
        learning_rate: Of the first ten epochs; the published schedule lowers it.
        batch_size: Images a step.
        epochs: Passes over the training images.
        train_images: Size of the seeded training subset; None takes all.
        test_images: Size of the seeded test subset; None takes all.
        size_px: Side of the square images, in pixels.
        width: Multiplies channels and hidden units; 1 is the published size.
        blocks: Bottleneck blocks of ResNet-50's four stages.
        weights: "random", "imagenet", "surrogate", or the path of a weights file.
        pretraining_steps: Steps of the surrogate's pretraining.
        data: "gtsrb" or "synthetic".
        bands: Metrics and the bands they must lie in; not part of the run itself.

    Raises:
        ValueError: If a field is outside its range or names no row.
    """

    architecture: str
    loss: str = "intended"
    fix: str = "none"
    question: str = "training"
    epsilon: float = 0.01
    learning_rate: float = 0.001
    batch_size: int = 32
    epochs: int = 10
    train_images: int | None = None
    test_images: int | None = None
    size_px: int = 64
    width: float = 1.0
    blocks: tuple[int, ...] = resnet50.BLOCKS
    weights: str = "random"
    pretraining_steps: int = 0
    data: str = "gtsrb"
    bands: tuple[tuple[str, Band], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        require("architecture", self.architecture, ARCHITECTURES)
        require("loss", self.loss, (PLAIN, *PHASES, *GRID))
        require_fix(self.fix)
        require("question", self.question, QUESTIONS)
        require("data", self.data, DATA)
        for name in ("batch_size", "epochs", "size_px", "width", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Received: {getattr(self, name)}")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be in [0, 1]. Received: {self.epsilon}")
        self._check_counts()
        self._check_weights()

    def _check_counts(self) -> None:
        for name in ("train_images", "test_images"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be positive, or None for all. Received: {count}")
        if len(self.blocks) != len(resnet50.BLOCKS) or min(self.blocks) < 1:
            raise ValueError(f"blocks must be four positive numbers. Received: {self.blocks}")

    def _check_weights(self) -> None:
        """Refuse weights that the architecture could not take and would silently do without."""
        published = self.width == 1 and self.blocks == resnet50.BLOCKS
        if self.weights not in ("random", "surrogate") and not (
            self.architecture in PRETRAINED and published
        ):
            raise ValueError(
                "weights must be 'random' or 'surrogate' but for VGG19 and ResNet-50 at their "
                f"published size. Received: {self.weights}"
            )
        if (self.weights == "surrogate") != (self.pretraining_steps > 0):
            raise ValueError(
                "pretraining_steps must be positive for surrogate weights and 0 for others. "
                f"Received: {self.pretraining_steps}"
            )

    def __str__(self) -> str:
        reduced = "" if self.width == 1 else f"-w{self.width:g}"
        if self.question == "traps":
            return self.question
        if self.question == "parity":
            return f"parity-{self.architecture}{reduced}-{self.loss}"
        if self.question == "fixes":
            varied = f"b{self.batch_size}-lr{self.learning_rate:g}-{self.size_px}px"
            return f"{self.architecture}{reduced}-{self.loss}-{self.fix}-{varied}"
        if self.question != "training":
            return f"{self.question}-{self.architecture}{reduced}"
        fix = "" if self.loss == PLAIN and self.fix == "none" else f"-{self.fix}"
        return f"{self.architecture}{reduced}-{self.loss}{fix}"

    @property
    def phases(self) -> Phases | None:
        """The phases of the adversarial loss; None under the plain loss."""
        return None if self.loss == PLAIN else {**GRID, **PHASES}[self.loss]

    def settings(self) -> dict[str, Any]:
        """Return every field that decides the run, as JSON values."""
        fields = asdict(self)
        del fields["bands"]
        phases = self.phases and list(self.phases)
        return {**fields, "blocks": list(self.blocks), "phases": phases}


def require(name: str, value: str, rows: Collection[str]) -> None:
    """Raise a ValueError that lists the `rows` unless `value` is one of them."""
    if value not in rows:
        raise ValueError(f"{name} must be one of {', '.join(rows)}. Received: {value}")


ACCURACY = tuple(
    Case(architecture, loss=loss) for architecture in ARCHITECTURES for loss in (PLAIN, "intended")
)
STALL = tuple(
    Case("resnet50", loss=loss, fix=fix)
    for loss in PHASES
    for fix in ("none", "bn-momentum-0.5", "imagenet-inputs")
)
NO_STALL = tuple(
    Case(architecture) for architecture in ARCHITECTURES if not architecture.startswith("resnet50")
)
ATTACK = tuple(Case(architecture, question="attack") for architecture in ARCHITECTURES)
STEP_TIME = tuple(Case(architecture, question="step-time") for architecture in ARCHITECTURES)
LITERAL_FIXES = (  # the rest choose the phases themselves, or do what these do
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
        if fix != "phase-scope"  # it makes `intended` of `literal`
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
    if loss not in ("moving-kept", "own-updating")  # `intended`, attack-inference-loss-training
)
VARIED = tuple(Case("resnet50", loss=loss, question="fixes") for loss in PHASES)
PARITY = (
    *(Case("resnet50", loss=loss, question="parity") for loss in (*PHASES, PLAIN)),
    Case("lenet5", question="parity"),
)

TABLES: Mapping[str, tuple[Case, ...]] = {
    "accuracy": ACCURACY,
    "stall": STALL,
    "no-stall": NO_STALL,
    "attack": ATTACK,
    "step-time": STEP_TIME,
    "parity": PARITY,
    "traps": (Case("resnet50", question="traps"),),
    "fixes": FIXED,
    "grid": GRID_POINTS,
    "low-rate": (*VARIED, Case("resnet50", "literal", "precise-bn", question="fixes")),
    "small-batch": VARIED,
    "large-batch": VARIED,
    "large-images": VARIED,
    "linear-head": tuple(replace(case, architecture="resnet50-linear") for case in VARIED),
    "no-change": tuple(
        case for case in STALL if case.loss == "literal" and case.fix == "bn-momentum-0.5"
    ),
    "full-size": tuple(case for case in STEP_TIME if case.architecture in PRETRAINED),
}
"""The rows of each question at their published settings; tiers override fields."""


class Tier(NamedTuple):
    """The fields in which a size of the benchmarks differs from the published settings.

    Attributes:
        common: Fields of every case.
        architectures: Fields by architecture; those not named are not part of the tier.
        tables: Fields by table of `TABLES`; those not named are not part of the tier.
    """

    common: Mapping[str, Any]
    architectures: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Mapping[str, Any]]


UNTRAINED = {"weights": "random", "pretraining_steps": 0, "epochs": 1}
ATTACKED = {**UNTRAINED, "train_images": 64, "test_images": 256}
TIMED = {**UNTRAINED, "train_images": 22 * 32, "test_images": 64}  # 2 steps warm up, 20 count
QUESTIONED: Mapping[str, Mapping[str, Any]] = {
    "accuracy": {},
    "stall": {},
    "no-stall": {},
    "no-change": {},
    "attack": ATTACKED,
    "step-time": TIMED,
    "traps": {**UNTRAINED, "train_images": 64, "test_images": 64},
}
TRACED = {  # five steps at the published rate, at which rounding grows the least
    **UNTRAINED,
    "train_images": 5 * 32,
    "test_images": 64,
    "learning_rate": 0.001,
}
FEW_STEPS = {**UNTRAINED, "train_images": 4 * 32, "test_images": 64}  # of a full-size network
REDUCED_RESNET = {
    "width": 0.25,
    "blocks": (1, 1, 1, 1),
    "weights": "surrogate",
    "pretraining_steps": 600,
    "train_images": 6400,
    "epochs": 1,
}
STUDIED: Mapping[str, Mapping[str, Any]] = {
    "fixes": {},
    "grid": {},
    "low-rate": {"learning_rate": 0.001},
    "small-batch": {"batch_size": 16},
    "large-batch": {"batch_size": 64},
    "large-images": {"size_px": 48},
    "linear-head": {},
}
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
            "alexnet": {"train_images": 9600, "epochs": 3, "learning_rate": 2 * SMALL_RATE},
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
        },
    ),
    "study": Tier(
        common={"size_px": 32, "learning_rate": SMALL_RATE, "test_images": 1000},
        architectures={"resnet50": REDUCED_RESNET, "resnet50-linear": REDUCED_RESNET},
        tables=STUDIED,
    ),
    "full": Tier(
        common={},
        architectures={
            "lenet5": {},
            "alexnet": {},
            "vgg19": {"weights": "imagenet"},
            "resnet50": {"weights": "imagenet"},
        },
        tables=QUESTIONED,
    ),
    "full-study": Tier(
        common={},
        architectures={"resnet50": {"weights": "imagenet"}},
        tables={"fixes": {}, "grid": {}},
    ),
}
"""The same cases in three sizes; the studies of the fixes have the small and the full one."""

NO_FILES: Mapping[str, str] = MappingProxyType({})


def table(name: str, *, tier: str, weights: Mapping[str, str] = NO_FILES) -> tuple[Case, ...]:
    """Return the rows of one table of `TABLES` in the size of one tier, with their bands.

    Args:
        name: A key of `TABLES`.
        tier: A key of `TIERS`.
        weights: Files that replace the download of ImageNet's weights, by architecture.

    Raises:
        ValueError: If a name is no key.
    """
    require("name", name, TABLES)
    require("tier", tier, TIERS)
    size = TIERS[tier]
    if name not in size.tables:
        return ()
    rows = (row for row in TABLES[name] if row.architecture in size.architectures)
    return tuple(_resized(row, name, tier, weights) for row in rows)


def _resized(row: Case, name: str, tier: str, weights: Mapping[str, str]) -> Case:
    """Return `row` with the fields of a tier and its bands."""
    size = TIERS[tier]
    fields = {**size.common, **size.architectures[row.architecture], **size.tables[name]}
    if fields.get("weights") == "imagenet":
        fields["weights"] = weights.get(row.architecture, "imagenet")
    case = replace(row, **fields)
    return replace(case, bands=bands_of(str(case), tier=tier))
