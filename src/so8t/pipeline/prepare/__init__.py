"""Phases 1 and 2: from a source to a model that the engine can load.

In: a resolved source, for B with its training data, checked for benchmark items and policy.
Out: a `Prepared` record in the journal: the artifact with its digest, and how it was made.
"""
