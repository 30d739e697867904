"""What the operating system gives: durable files, digests, child processes.

The lowest room that does I/O; the layers above reach files and processes through it.
"""
