"""Phase 3: both models are known to the engine, loaded and have answered once.

In: two `Prepared` records. Out: a `Registered` record: names, digests and the one load profile
that both arms share, reduced step by step where memory is tight.
"""
