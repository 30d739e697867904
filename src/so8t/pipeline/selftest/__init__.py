"""A small run of this machine's own, killed on purpose: does it come to the same end?

In: a directory to work in. Out: how many kills, and what was lost or done twice.
"""
