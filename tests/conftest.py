"""The environment of all tests: neither the terminal nor the load of the machine has a say in what they show."""

import os

from hypothesis import HealthCheck, settings

for _name in ("COLUMNS", "LINES"):  # rtmsctl fits its tables to them
    os.environ.pop(_name, None)

settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[*settings().suppress_health_check, HealthCheck.too_slow]
)
settings.load_profile("busy")
