"""A model family: an architecture of Hugging Face's that llama.cpp knows under another name."""

from so8t.models.gguf_architecture import Family

FAMILIES = {"ExampleForCausalLM": Family(("ExampleForCausalLM",), "llama", pairs_adjacent=True)}
