"""The command line: `unseen COMMAND ...`, one command for each function of `commands`.

Exit codes: 0 done, 1 a check found something, 2 could not run (one line says what, the rule and the remedy),
130 interrupted and resumable.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from unseen import commands
from unseen.errors import UnseenError


def _report(runs: tuple[Path, ...], /, *, out: Path | None = None) -> commands.Result:
    return commands.report(*runs, out=out)


_report.__doc__ = commands.report.__doc__
COMMANDS = {name.replace("_", "-"): getattr(commands, name) for name in commands.__all__}
COMMANDS["report"] = _report  # tyro would make an option --runs of `*runs`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    import tyro

    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    try:
        result = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="unseen", args=words, description=__doc__.splitlines()[0] + " Add --json for machines."
        )
    except UnseenError as error:
        print(f"unseen: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if as_json:
        print(json.dumps(result, default=str))
    return int(result.get("exit", 0)) if isinstance(result, dict) else 0


if __name__ == "__main__":
    sys.exit(main())
