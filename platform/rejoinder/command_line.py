"""argv in, a call of the job's function with the final recipe out.

    python jobs/NAME.py [RECIPE] [section.key=value ...] [--flags]

A job is a function `job(recipe, *, flag=default)`: its keyword-only parameters are its flags, documented by
`Annotated[type, "help"]`. Other parameters after the recipe are words, the first of them a `Literal` of what there is
to do, such as `models.py [RECIPE] show 3`. `--help` comes from the recipe's own docstrings, `--print` shows the final
recipe.
"""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import os
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from rejoinder import catalog, console
from rejoinder.errors import RecipeError, RejoinderError, StorageError
from rejoinder.recipe import Recipe, explain, load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"


def run(
    job: Callable[..., object], argv: Sequence[str] | None = None, *,
    require_words: Callable[[Sequence[str]], None] = lambda words: None,
) -> None:  # fmt: skip
    """Runs a job as a program: exit status 0 done, 1 a user's error in one sentence, 2 wrong words, 130 stopped.

    `require_words` raises RecipeError for settings that this job has no use for.
    """
    parser = _parser(job)
    arguments = vars(parser.parse_intermixed_args(argv))  # flags may stand between the words
    debug = arguments.pop("debug")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress is to be seen in a pipe or a log file too
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if debug:
        os.environ["REJOINDER_DEBUG"] = "1"
    try:
        words, asked = _own_words(job, arguments.pop("words"))
        require_words(words)
        recipe = _recipe(words, explain_only=arguments.pop("help"), parser=parser)
        if arguments.pop("print"):
            sys.stdout.write(recipe.to_yaml())
            return
        job(recipe, **asked, **arguments)
    except RejoinderError as error:
        _leave(error, debug)
    except OSError as error:
        _leave(_storage_error(error) or error, debug)
    except KeyboardInterrupt as stopped:
        console.fail(str(stopped) or "stopped by Ctrl-C; the same command goes on from where it was")
        sys.exit(130)


def _own_words(job: Callable[..., object], words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes a job's own words out of the command line: from the first that is one of its actions, those without `=`."""
    names = _word_names(job)
    if not names:
        return words, {}
    actions = get_args(get_args(get_type_hints(job, include_extras=True)[names[0]])[0])
    plain = [word for word in words if "=" not in word]
    start = next((place for place, word in enumerate(plain) if word in actions), None)
    if start is None:
        if unknown := [word for word in plain if word != plain[0] or not _recipe_file(word).exists()]:
            raise RecipeError(f"{unknown[0]!r} is nothing to do; {catalog.choices(unknown[0], list(actions))}")
        return words, {}
    taken = plain[start:][: len(names)]
    rest = plain[:start] + plain[start + len(names) :] + [word for word in words if "=" in word]
    return rest, dict(zip(names, taken, strict=False))


def _word_names(job: Callable[..., object]) -> list[str]:
    parameters = list(inspect.signature(job).parameters.values())[1:]
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


def _recipe(words: list[str], explain_only: bool, parser: argparse.ArgumentParser) -> Recipe:
    file = RECIPES / "demo.yaml"
    if words and "=" not in words[0]:
        file = _recipe_file(words.pop(0))
    recipe = load_recipe(file, words)
    if explain_only:
        parser.print_help()
        sys.stdout.write(f"\nSettings, as {file.name} has them:\n{explain(recipe)}")
        sys.exit(0)
    return recipe


def _recipe_file(word: str) -> Path:
    """A path, or the name of a recipe that stands in jobs/recipes."""
    named = RECIPES / f"{word}.yaml"
    return named if named.exists() and not Path(word).exists() else Path(word)


def _parser(job: Callable[..., object]) -> argparse.ArgumentParser:
    own = "".join(f" {name.upper()}" for name in _word_names(job))
    parser = argparse.ArgumentParser(
        usage=f"%(prog)s [RECIPE]{own} [section.key=value ...] [flags]", description=inspect.getdoc(job), add_help=False
    )
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE section.key=value",
        help="a recipe file or the name of one in jobs/recipes (default: demo), then settings to change",
    )  # fmt: skip
    parser.add_argument("--help", "-h", action="store_true", help="this text, with every setting, and exit")
    parser.add_argument("--print", action="store_true", help="print the final recipe as YAML and exit")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the workers' own output")
    hints = get_type_hints(job, include_extras=True)
    for name, parameter in inspect.signature(job).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            parser.add_argument(f"--{name.replace('_', '-')}", **_flag(hints[name], parameter.default))
    return parser


def _flag(hint: Any, default: object) -> dict[str, Any]:
    kind, text = get_args(hint)[:2]
    if kind is bool:
        return {"action": "store_true", "help": text}
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(choice for choice in get_args(kind) if choice is not type(None))
    shown = "" if default is None else f" (default: {default})"
    return {"type": kind, "default": default, "help": text + shown, "metavar": kind.__name__.upper()}


def _storage_error(error: OSError) -> StorageError | None:
    """A full disk or a forbidden place, wherever it struck, in our words."""
    from rejoinder.storage import explain_os_error

    return explain_os_error(error)


def _leave(error: BaseException, debug: bool) -> None:
    if debug or not isinstance(error, RejoinderError):
        traceback.print_exception(error)
    console.fail(f"error: {error}")
    sys.exit(1)
