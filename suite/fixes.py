"""The fixes for anyone's network: `suite.networks.fixes` with images to recompute statistics on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.diagnose.remedies import recompute_statistics
from suite.networks.fixes import FIXES, Fixed
from suite.networks.fixes import apply as apply_fix
from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["FIXES", "Fixed", "apply"]


def apply(
    name: str,
    keras: Keras,
    model: Model,
    *,
    images: ArrayLike | None = None,
    batch_size: int = 32,
    **options: Any,
) -> Fixed:
    """Apply the fix `name`; return what is trained and how. `model` is left as it was.

    Args:
        name: A key of `FIXES`, or ``bn-momentum-X`` with any X in [0, 1).
        keras: The Keras that made `model`.
        model: Built; functional, Sequential, or of a class that can be made from its
            ``get_config``.
        images: ``(n, ...)`` of the training, some hundred or more, as the model is fed; only
            ``precise-bn`` needs them.
        batch_size: Images per step, before the fix; also those of a batch of ``precise-bn``.
        **options: As in `suite.networks.fixes.apply`: phases, epochs, inputs, recompute.

    Raises:
        ValueError: If `name` is no fix, `model` is not built, or an argument is missing or wrong.
        FixError: If the model, or this release of Keras, cannot take the fix.
        SuiteError: If the model cannot be called batch by batch.
    """
    if images is not None and options.get("recompute") is None:
        options["recompute"] = lambda copy: recompute_statistics(
            copy, images, batch_size=batch_size, keras=keras
        )
    return apply_fix(name, keras, model, batch_size=batch_size, **options)
