"""Run the benchmarks of one lane: `--lane hf` or `--lane llm`. Same as `so8t run --lane ...`."""

import sys

from so8t.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
