"""A model family: an architecture of Hugging Face's that llama.cpp knows under another name."""

from so8t.models.gguf_families import Family

FAMILIES = {"ExampleForCausalLM": Family("llama", pairs_adjacent=True)}
