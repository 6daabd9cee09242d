"""A command line of verbs: one file a verb, each imported when it is asked for; what a person can mend ends in one line."""

import argparse
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from agent import __version__
from agent.errors import AgentError, UsageError


class Program(NamedTuple):
    """package: has a module a verb, whose `add_parser(verbs)` sets `run(args) -> exit status`. verbs: each with its summary."""

    name: str
    description: str
    package: str
    verbs: Mapping[str, str]
    examples: str


class Parser(argparse.ArgumentParser):
    """Its errors are one line, like all others. Options are written out: a later one may begin alike."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        raise UsageError(f"{message}; see {self.prog} --help")


def run(program: Program, words: Sequence[str]) -> int:
    """Run the verb that is asked for; returns the exit status. What a person can mend ends in one line on stderr."""
    try:
        try:
            return _run(program, words)
        finally:
            print(end="", flush=True)  # here, and not at the interpreter's end, is seen whether it can be written
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"{program.name}: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has seen enough
        _drop_output()
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        print(f"{program.name}: {error.filename or 'the output'} cannot be written: the disk is full", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(program: Program, words: Sequence[str]) -> int:
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked is not None and asked not in program.verbs:
        from agent.checked import suggest  # noqa: PLC0415  --help does without it

        raise UsageError(f"there is no verb {asked}{suggest(asked, program.verbs) or '; there are ' + ', '.join(program.verbs)}")
    for word in words:
        if word.encode(errors="ignore").decode() != word:
            raise UsageError(f"{word}: not UTF-8; rename what is called so")
    parser = Parser(
        prog=program.name,
        description=program.description,
        epilog=program.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{program.name} {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb, summary in program.verbs.items():
        if verb == asked:
            import_module(f"{program.package}.{verb}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=summary)
    args = parser.parse_args(words)
    status: int = args.run(args)
    return status


def _drop_output() -> None:
    """Send what is still in the buffer nowhere, else the interpreter complains when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
