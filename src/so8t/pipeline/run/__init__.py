"""A run as a whole: its directory and lease, its sessions and interruptions, progress and stop.

In: a config and a directory. Out: an opened pipeline with all that stands beside it, and how far
it is, told from the journal alone.
"""
