"""What is asked and how an answer is graded: suites, named benchmarks, graders."""

from so8t.tasks.benchmarks import BENCHMARKS, Benchmark, load_benchmark
from so8t.tasks.graders import GRADERS, answer_of, grade, grader_digest, validate_grader
from so8t.tasks.suite import SuiteReport, load_suite, suite_schema, validate_suite

__all__ = [
    "BENCHMARKS",
    "GRADERS",
    "Benchmark",
    "SuiteReport",
    "answer_of",
    "grade",
    "grader_digest",
    "load_benchmark",
    "load_suite",
    "suite_schema",
    "validate_grader",
    "validate_suite",
]
