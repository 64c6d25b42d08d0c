"""A model for another runtime: `python jobs/export.py [RECIPE] --format NAME --to DIRECTORY [--of WHICH]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import export_job


def export(
    recipe: Recipe,
    *,
    of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "champion",
    format: Annotated[str, "ctranslate2 or onnx"] = "ctranslate2",
    to: Annotated[str, "a directory that is made"] = "exported",
) -> None:
    """Writes a trained Transformer as CTranslate2 or ONNX Runtime read it: the same greedy replies in fp32."""
    export_job(recipe, of, format, to)


if __name__ == "__main__":
    run(export)
