"""Hugging Face tasks: lm-eval's definitions, prompts and metrics, driven by our runner."""
