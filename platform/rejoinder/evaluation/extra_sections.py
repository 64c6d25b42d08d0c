"""What the report shows besides figures: functions that look at one checkpoint, or at two, each giving a section.

Each runs in one Ray task on one core, while others measure, and must not use Ray itself. None: nothing was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from rejoinder.checkpoints import Trained
from rejoinder.evaluation.attention_maps import attention_html
from rejoinder.evaluation.behaviour import behaviour
from rejoinder.evaluation.results import Section
from rejoinder.evaluation.self_chat import self_chat
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet


def behaviour_section(recipe: Recipe, trained: Trained, _: ShardSet) -> Section | None:
    """Pass rates of the recipe's families of tests, and what did not pass."""
    if not recipe.evaluation.behaviour:
        return None
    result = behaviour(trained, recipe.evaluation.behaviour, recipe.training.seed)
    return Section(*result.section(), result.metrics)


def self_chat_section(recipe: Recipe, trained: Trained, _: ShardSet) -> Section | None:
    """A model's conversations with itself."""
    if (num := recipe.evaluation.num_self_chats) == 0:
        return None
    result = self_chat(recipe, trained, num_conversations=num, names=("the model", "the model"))
    return Section(*result.section(), result.metrics)


def attention_section(recipe: Recipe, trained: Trained, shard_set: ShardSet) -> Section | None:
    """Where a model looked in exchanges of the split, with what it says itself."""
    if (num := min(recipe.evaluation.num_attention_maps, len(shard_set))) == 0:
        return None
    return Section("Where it looks", attention_html(trained, shard_set, num, recipe.training.seed))


def self_chat_of_two_section(recipe: Recipe, first: Trained, second: Trained, _: ShardSet) -> Section | None:
    """Two models' conversations with each other."""
    if (num := recipe.evaluation.num_self_chats) == 0:
        return None
    result = self_chat(recipe, first, second, num_conversations=num, names=("the first", "the second"))
    return Section(*result.section(), result.metrics)


OF_ONE: tuple[Callable[[Recipe, Trained, ShardSet], Section | None], ...] = (
    behaviour_section,
    self_chat_section,
    attention_section,
)
OF_TWO: tuple[Callable[[Recipe, Trained, Trained, ShardSet], Section | None], ...] = (self_chat_of_two_section,)
