"""How the property tests of the verdict run: the same examples each time, however slow the box."""

from hypothesis import settings

settings.register_profile(
    "verdict", settings.get_profile("so8t"), derandomize=True, max_examples=40
)
settings.load_profile("verdict")
