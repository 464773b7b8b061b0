"""`python -m stack up DIR` and `python -m stack down DIR`."""

import argparse
import sys
from pathlib import Path

from stack.processes import NotReady
from stack.stack import Stack, down


def main() -> int:
    """Start or end the stack of a directory."""
    parser = argparse.ArgumentParser(prog="dev", description=__doc__)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.action == "down":
            down(arguments.directory)
        else:
            Stack(arguments.directory).start()
            print(arguments.directory.resolve() / "stack.json")
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
