"""Run the benchmarks of one origin: `--origin hf` or `--origin suite`, as `so8t run` takes it."""

import sys

from so8t.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
