"""What may be training data: personal data, confidential marks, robots.txt, safety corpora."""
