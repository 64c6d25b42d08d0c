"""A room's folder is the list of its plug-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rejoinder import catalog
from rejoinder.errors import RecipeError

ROOMS = ("rejoinder.corpora", "rejoinder.models", "rejoinder.optimizers", "rejoinder.schedules")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A room with one plug-in, which cannot be imported, and one helper."""
    folder = tmp_path / "greetings"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "hello.py").write_text("import a_library_that_is_absent\n\nclass Settings:\n    pass\n")
    (folder / "helper.py").write_text("def help(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "greetings"
    sys.modules.pop("greetings", None)


def test_a_new_file_is_a_new_plugin(room: str, tmp_path: Path) -> None:
    (tmp_path / "greetings" / "bye.py").write_text("class Settings:\n    pass\n")
    assert catalog.names(room) == ["bye", "hello"]


def test_a_file_without_settings_is_no_plugin(room: str) -> None:
    assert "helper" not in catalog.names(room)
    assert {"base", "layers"}.isdisjoint(catalog.names("rejoinder.models"))


def test_listing_imports_nothing(room: str) -> None:
    assert catalog.names(room) == ["hello"]
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_absent"):
        catalog.pick(room, "hello")


def test_a_misspelt_name_is_refused_with_the_closest_and_all_others() -> None:
    with pytest.raises(RecipeError, match=r"no schedule is called 'cosin'; did you mean 'cosine'\? .*constant.*linear"):
        catalog.pick("rejoinder.schedules", "cosin")
    with pytest.raises(RecipeError, match="no corpus reader is called"):
        catalog.pick("rejoinder.corpora", "nothing like it")


def test_a_helper_module_cannot_be_picked() -> None:
    with pytest.raises(RecipeError, match="'layers'"):
        catalog.pick("rejoinder.models", "layers")


def test_a_room_that_is_no_package_is_our_mistake() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"rejoinder\.loss is no package"):
        catalog.names("rejoinder.loss")


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in ROOMS for name in catalog.names(room)])
def test_a_plugins_settings_are_called_like_its_file(room: str, name: str) -> None:
    """`name` is what a recipe and a checkpoint save."""
    assert catalog.pick(room, name).Settings.model_fields["name"].default == name
