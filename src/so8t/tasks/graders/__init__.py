"""Graders: pure functions from a question and a reply to a score."""
