"""Results made elsewhere: readers of other tools' logs, the matching of items, the paired verdict.

`detect.read_results` turns a file or a directory into `items.Results`; `match.match` pairs the
items of two of them; `judge.compare` gives the verdict. Nothing here prints or asks a model.
"""
