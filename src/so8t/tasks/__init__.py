"""What is asked and how an answer is graded."""

from so8t.tasks.graders import GRADERS, grade, grader_digest, validate_grader
from so8t.tasks.suite import load_suite, validate_suite

__all__ = [
    "GRADERS",
    "grade",
    "grader_digest",
    "load_suite",
    "validate_grader",
    "validate_suite",
]
