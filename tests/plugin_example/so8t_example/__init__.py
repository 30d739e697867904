"""An engine, a grader and a model family that come from outside."""
