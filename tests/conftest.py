"""What all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from needs import absent

# Set before any test module copies the environment: no test touches the user's own register of
# runs. A child process inherits it.
os.environ["SO8T_STATE_DIR"] = tempfile.mkdtemp(prefix="so8t-tests-state-")

# A busy machine is slow, and that is no fault of what is tested.
# The examples of a property test are the same each time: a failure is one that can be repeated.
settings.register_profile(
    "so8t", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("so8t")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real benchmark sets (`SO8T_SHARED_DATA`, else `../shared/data` beside the checkout)."""
    path = Path(os.environ.get("SO8T_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        absent(f"the benchmark sets are not at {path}")
    return path
