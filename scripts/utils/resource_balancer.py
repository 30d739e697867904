"""Watch this machine: `--config FILE`, `--duration SECONDS`. Same as `so8t monitor`."""

import sys

from so8t.cli import main

if __name__ == "__main__":
    main(["monitor", *sys.argv[1:]])
