"""What a run will do, found out before any of it is done.

In: the config. Out: the samples in their frozen order, what the models need (disk, memory, time),
the smallest difference that the run can show, and everything that is missing.
"""
