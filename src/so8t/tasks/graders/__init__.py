"""Graders: pure functions from a question and a reply to a score.

`grade` is the one entry. Each grader is a small class of options (checked when a suite is read)
with a rule (applied to each answer); docs/suite-format.md describes them for suite authors.
"""

from so8t.tasks.graders.registry import (
    GRADERS,
    grade,
    grader_digest,
    is_binary,
    validate_grader,
)
from so8t.tasks.graders.text import answer_of

__all__ = ["GRADERS", "answer_of", "grade", "grader_digest", "is_binary", "validate_grader"]
