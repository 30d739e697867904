"""Phase 4: both models answer the same frozen questions, in blocks A B, B A.

In: the samples and the registered models. Out: answers with their scores, each committed before
it is counted, until the questions, the deadline or the open question end.
"""
