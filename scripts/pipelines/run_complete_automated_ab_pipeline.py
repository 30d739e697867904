"""Run all four phases: prepare A, prepare B, register both, benchmark both. Same as `so8t run`."""

import sys

from so8t.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
