"""`python -m so8t` is the command line."""

from so8t.cli import main

if __name__ == "__main__":
    main()
