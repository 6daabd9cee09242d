"""Run by scripts/demo.sh."""

import signal
import sys


def main() -> int:
    """Returns the exit status. Ctrl-C is how the demo ends, also while it is still being loaded."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    try:
        from scripts.demo.play import play  # noqa: PLC0415  within the try

        return play()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
