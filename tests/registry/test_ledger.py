"""The ledger: one order of decisions for everybody, none of them changed unseen, and an alias that follows it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from rejoinder.errors import RegistryError
from rejoinder.recipe import Recipe
from rejoinder.registry import PROMOTED, REFUSED, ROLLED_BACK, Decision, Registry
from rejoinder.registry.ledger import ENTRY_TAG, SHA256_TAG, Ledger


@pytest.fixture
def registry(recipe: Recipe) -> Registry:
    """Four versions without anything in them."""
    registry = Registry(recipe)
    client = MlflowClient(registry.uri)
    client.create_registered_model("chat")
    for _ in range(4):
        client.create_model_version("chat", "somewhere", await_creation_for=0)
    return registry


def promoted(version: int, replaces: int | None) -> Decision:
    """A decision for the champion."""
    return Decision(PROMOTED, "champion", version, replaces, "it is better")


def test_the_alias_follows_promotions_and_goes_back_one_by_one(registry: Registry) -> None:
    for version, replaces in ((1, None), (2, 1), (3, 2)):
        registry.decide(promoted(version, replaces))
    assert registry.find("champion").number == 3
    registry.decide(Decision(REFUSED, "champion", 4, 3, "it is worse"))
    assert registry.find("champion").number == 3
    registry.decide(Decision(ROLLED_BACK, "champion", 2, 3, ""))
    assert registry.find("champion").number == 2
    assert registry.ledger.standing().before("champion") == 1
    registry.decide(Decision(ROLLED_BACK, "champion", 1, 2, ""))
    assert registry.ledger.standing().before("champion") is None
    entries = registry.ledger.standing().entries
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[3].decision.previous == entries[2].sha256
    assert "@" in entries[0].decision.who
    assert entries[0].decision.when.endswith("+00:00")


def test_of_two_who_decide_on_the_same_grounds_the_second_is_told_by_whom(registry: Registry) -> None:
    registry.decide(promoted(1, None))
    registry.decide(promoted(2, 1))
    with pytest.raises(RegistryError, match=r"'champion' went to version 2 meanwhile \(promoted by .*@.*compare"):
        registry.decide(promoted(3, 1))
    assert registry.find("champion").number == 2


def test_an_entry_that_follows_another_than_the_last_counts_for_nothing(registry: Registry) -> None:
    registry.decide(promoted(1, None))
    head = registry.ledger.standing().head
    for version in (2, 3):  # both have read the ledger before either has written
        assert registry.ledger._write(replace(promoted(version, 1), previous=head)) is None
    standing = registry.ledger.standing()
    assert [entry.counts for entry in standing.entries] == [True, True, False]
    assert standing.holder("champion") == 2


def test_the_same_entry_written_twice_counts_once(registry: Registry) -> None:
    once = promoted(1, None)
    for _ in range(2):
        registry.ledger._write(once)
    assert [entry.counts for entry in registry.ledger.standing().entries] == [True, False]


@pytest.mark.parametrize("tag", [ENTRY_TAG, SHA256_TAG])
def test_an_entry_that_was_changed_is_named(registry: Registry, tag: str) -> None:
    for version, replaces in ((1, None), (2, 1)):
        registry.decide(promoted(version, replaces))
    client = MlflowClient(registry.uri)
    text = client.get_model_version("chat.ledger", "1").tags[tag]
    client.set_model_version_tag("chat.ledger", "1", tag, text.replace("better", "best") + " ")
    with pytest.raises(RegistryError, match=r"ledger 'chat.ledger' .*entry 1 was changed .*backup"):
        registry.holder("champion")


def test_an_entry_that_was_deleted_is_named(registry: Registry) -> None:
    for version, replaces in ((1, None), (2, 1)):
        registry.decide(promoted(version, replaces))
    MlflowClient(registry.uri).delete_model_version("chat.ledger", "1")
    with pytest.raises(RegistryError, match="entry 1 is missing"):
        registry.ledger.standing()


def test_an_alias_of_before_the_ledger_is_taken_over(registry: Registry) -> None:
    MlflowClient(registry.uri).set_registered_model_alias("chat", "champion", "3")
    assert registry.holder("champion") == 3
    registry.decide(promoted(4, 3))
    assert registry.ledger.standing().before("champion") == 3


def test_an_alias_that_was_moved_by_hand_or_left_behind_is_put_right(registry: Registry) -> None:
    registry.decide(promoted(1, None))
    MlflowClient(registry.uri).set_registered_model_alias("chat", "champion", "2")
    assert registry.holder("champion") == 1
    assert registry.find("champion").number == 1


def test_aliases_do_not_stand_in_each_others_way(registry: Registry) -> None:
    registry.decide(promoted(1, None))
    registry.decide(Decision(PROMOTED, "canary", 2, None, "tried out"))
    assert registry.aliases() == {"canary": 2, "champion": 1}


def test_many_at_once_make_one_chain(registry: Registry, recipe: Recipe) -> None:
    barrier, outcomes = threading.Barrier(3), list[str]()

    def promote(version: int) -> None:
        own = Registry(recipe)
        barrier.wait(30)
        try:
            own.decide(promoted(version, None))
            outcomes.append("won")
        except RegistryError as error:
            outcomes.append("lost" if "meanwhile" in str(error) else str(error))

    threads = [threading.Thread(target=promote, args=(version,)) for version in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "won"]
    standing = registry.ledger.standing()
    assert standing.holder("champion") == registry.find("champion").number


# Both know the same champion, wait for each other, and promote their own version; five times.
PROMOTER = """
import sys, time
from pathlib import Path
from rejoinder.errors import RegistryError
from rejoinder.recipe import load_recipe
from rejoinder.registry import Decision, Registry
recipe, own, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
registry = Registry(load_recipe(recipe))
for number in range(5):
    alias = f"champion{number}"
    (place / f"{number}-{own}").touch()
    while not (place / f"{number}-{3 - own}").exists():
        time.sleep(0.001)
    try:
        registry.decide(Decision("promoted", alias, own, None, "better"))
        print("won", flush=True)
    except RegistryError as error:
        assert "meanwhile" in str(error), error
        print("lost", flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_that_promote_at_once_exactly_one_wins(
    registry: Registry, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTER, str(tmp_path / "recipe.yaml"), str(version), str(tmp_path)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for version in (1, 2)
    ]  # fmt: skip
    said = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    first, second = (out.split() for out, _ in said)
    assert len(first) == len(second) == 5
    for number, outcomes in enumerate(zip(first, second, strict=True)):
        assert sorted(outcomes) == ["lost", "won"]
        winner = 1 + outcomes.index("won")
        assert registry.find(f"champion{number}").number == winner
        assert registry.ledger.standing().holder(f"champion{number}") == winner


def test_a_ledger_of_another_model_is_another_ledger(registry: Registry) -> None:
    registry.decide(promoted(1, None))
    assert Ledger(MlflowClient(registry.uri), registry.uri, "other").standing().entries == ()
