"""docs/corpora.md names every reader with all its settings, and its recipe is one."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from rejoinder import catalog

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
READERS = catalog.names("rejoinder.corpora")
EXPLAINED_BY_THE_TABLE = {"made_up"}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_has_a_row_with_its_settings_and_an_example(reader: str) -> None:
    rows = re.findall(rf"^\| (?:\[{reader}\]\(#{reader}\)|{reader}) \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert len(rows) == 1
    fields = set(catalog.pick("rejoinder.corpora", reader).Settings.model_fields)
    assert set(re.findall(r"`(\w+)`", rows[0])) == fields - {"name", "path", "weight"}
    assert reader in EXPLAINED_BY_THE_TABLE or re.search(rf"^## {reader}\n\n    \S", PAGE, re.MULTILINE)


@pytest.mark.parametrize("reader", READERS)
def test_a_public_corpus_has_its_licence_its_source_and_the_size_of_its_download(reader: str) -> None:
    about = getattr(catalog.pick("rejoinder.corpora", reader), "ABOUT", None)
    (row,) = re.findall(rf"^\| (?:\[{reader}\]\(#{reader}\)|{reader}) \|.*$", PAGE, re.MULTILINE)
    source, download = row.split("|")[4:6]
    if about is None:
        assert download.strip() == "–"
        return
    assert source.strip().endswith(f"; {about.licence}")
    assert reader == "chitchat" or about.citation in source
    assert download.strip().startswith("fetched") == bool(about.files)
    for file in about.files:
        assert file.num_bytes is None or f", {file.num_bytes / 1e6:.1f} MB" in download


def test_the_page_names_no_reader_that_is_not_there() -> None:
    assert set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)) == set(READERS) - EXPLAINED_BY_THE_TABLE


def test_its_recipe_is_understood() -> None:
    (block,) = re.findall(r"(?:^    .*\n)+", PAGE[PAGE.index("    data:") :], re.MULTILINE)[:1]
    corpora = yaml.safe_load(textwrap.dedent(block))["data"]["corpora"]
    corpora += yaml.safe_load(re.findall(r"^    (- \{name: pairs.*header.*\})$", PAGE, re.MULTILINE)[0])
    assert len(corpora) == 4
    for corpus in corpora:
        catalog.pick("rejoinder.corpora", corpus["name"]).Settings.model_validate(corpus)
