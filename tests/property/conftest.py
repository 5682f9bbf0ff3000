"""How many examples are tried: few and always the same ones by default, more where ``FNE_EXAMPLES`` says so."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

COUNT = int(os.environ.get("FNE_EXAMPLES", "0"))
settings.register_profile(
    "fne",
    max_examples=COUNT or 60,
    derandomize=not COUNT,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fne")
