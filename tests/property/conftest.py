"""How long the property-based tests look: the same few examples in `tests`, new ones in `fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

QUICK = {"derandomize": True, "database": None, "phases": [Phase.explicit, Phase.generate]}
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}  # `answered` has the clock
settings.register_profile("ci", max_examples=25, **QUICK, **COMMON)
settings.register_profile("fuzz", max_examples=400, print_blob=True, **COMMON)
settings.load_profile("ci")  # unless --hypothesis-profile names another
