"""Servers that speak OpenAI's API: llama-server, vLLM, SGLang, LM Studio and others, as places.

Nothing that a server says is believed: what it can do is found by asking (`probe`), and who it is
by its facts and by eight fixed answers (`places`).
"""
