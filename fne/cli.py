"""The command line: the parser of the verbs of :mod:`fne.steps.verbs`, and what their errors become."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from fne.steps.verbs import PLACE, ROOT, VERBS
from fne.utils.os_errors import explain
from fne.utils.signals import TERMINATED
from fne.utils.text import harmless

USER_ERROR, INTERRUPTED = 2, 130
EPILOG = "`fne help VERB` explains a verb and its options; `fne list` shows the studies and variants."


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status: 0, 2 (something the user can mend), 130 (interrupted)."""
    words, parser = sys.argv[1:] if argv is None else argv, build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = parser.parse_args([*words[1:2], "--help"] if words[:1] == ["help"] else words)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a question mark
    # Read once, when torch or numpy is first imported. Products of the verbs without --threads are small: a second
    # thread would wait for the first most of the time, and take a core for that.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(getattr(arguments, "threads", None) or 1)
    previous = _handle_signals()
    try:
        arguments.handler(arguments)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        return _say(f"error: {message}", USER_ERROR)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(message: str, status: int) -> int:
    print(harmless(message), file=sys.stderr)
    return status


def _handle_signals() -> dict[int, Any]:
    """Let a polite kill unwind the stack, so that unfinished temporary files are removed; SIGUSR1 ends nothing.

    Training handles both otherwise (:mod:`fne.utils.signals`).

    Returns:
        The handlers until now.
    """

    def stop(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    try:
        return {
            signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
            signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        }
    except ValueError:  # not the main thread: whoever runs us handles signals
        return {}


def _stems(*folders: str) -> Callable[..., list[str]]:
    """For a shell: the names of the files in folders of ``ablations``."""
    return lambda parsed_args, **_: [
        file.stem for folder in folders for file in (parsed_args.root / "ablations" / folder).glob("*.yaml")
    ]


COMPLETED = {
    **dict.fromkeys(("study", "bundles"), _stems("studies")),
    **dict.fromkeys(("names", "id", "filter"), _stems("studies", "variants")),
    "variant": _stems("variants"),
}
"""What a shell offers for an argument."""


class _Parser(argparse.ArgumentParser):
    """Options are written out; of a wrong choice the nearest allowed ones are named first."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [*map(str, action.choices)]
            near = difflib.get_close_matches(str(value), names, cutoff=0.5)
            allowed = ", ".join(dict.fromkeys([*near, *names]))
            raise argparse.ArgumentError(action, f"unknown: {value!r}; allowed: {allowed}")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    from fne import __version__

    summary = "From raw image-text pairs to a report, one verb per step; `snakemake --cores all` runs them all."
    parser = _Parser(prog="fne", description=summary, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fne {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        added = verbs.add_parser(verb.name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        if verb.example:
            added.epilog, added.formatter_class = f"example:\n  {verb.example}", argparse.RawDescriptionHelpFormatter
        added.set_defaults(handler=verb.handler)
        for option in (ROOT, *verb.options):
            target: Any = added
            if option is PLACE:
                target = added.add_mutually_exclusive_group(required=True)
                target.add_argument("--study", help=argparse.SUPPRESS)
            action = target.add_argument(*option[0], **option[1])
            action.completer = COMPLETED.get(action.dest)
    return parser


if __name__ == "__main__":
    sys.exit(main())
