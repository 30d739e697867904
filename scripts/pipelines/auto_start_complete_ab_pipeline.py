"""Start at boot: `--setup` is `so8t autostart install`, `--run` is `so8t autostart resume`."""

import sys

from so8t.cli import main

ACTIONS = {"--setup": "install", "--run": "resume"}

if __name__ == "__main__":
    main(["autostart", *(ACTIONS.get(argument, argument) for argument in sys.argv[1:])])
