"""What all layers share of the machine: durable files, digests, children, the GGUF container, text.

The lowest room that does I/O; the layers above reach files and processes through it.
"""
