"""Every problem in a sentence: path, value, and what would be right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rejoinder.errors import RecipeError
from rejoinder.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


def problems_of(make_recipe: MakeRecipe, *words: str) -> list[str]:
    with pytest.raises(RecipeError) as refusal:
        make_recipe(*words)
    _, *lines = str(refusal.value).splitlines()
    return [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("nam=x", "nam: the recipe has no such setting; did you mean 'name'?"),
        ("training.num_stesp=5", "training.num_stesp: training has no such setting; did you mean 'num_steps'?"),
        ("model.widht=8", "model.widht: model has no such setting; did you mean 'width'?"),
        ("data.corpora.0.sed=3", "data.corpora.0.sed: data.corpora.0 has no such setting; did you mean 'seed'?"),
        ("training.optimizer.bta1=0", "training.optimizer.bta1: training.optimizer has no such setting; did you mean"),
        ("model.name=transfomer", "model: no model is called 'transfomer'; did you mean 'transformer'?"),
        ("model=null", "model: needs a name; there are: "),
        ("data.corpora.0.name=null", "data.corpora.0: needs a name; there are: "),
    ],
)
def test_an_unknown_word_names_the_closest(make_recipe: MakeRecipe, word: str, sentence: str) -> None:
    (problem,) = problems_of(make_recipe, word)
    assert problem.startswith(sentence)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("training.num_steps=0", "training.num_steps = 0: must be greater than 0"),
        ("training.num_steps=many", "training.num_steps = 'many': must be a valid integer"),
        ("training.num_steps=1.5", "training.num_steps = 1.5: must be a valid integer"),
        ("training.learning_rate=.nan", "training.learning_rate = nan: must be a finite number"),
        ("training.precision=fp4", "training.precision = 'fp4': must be 'fp32', 'bf16'"),
        ("scaling.gpus_per_worker=2", "scaling.gpus_per_worker = 2: must be 0 or 1"),
        ("decoding.top_p=1.5", "decoding.top_p = 1.5: must be less than or equal to 1"),
        ("data.corpora=[]", "data.corpora = []: Tuple should have at least 1 item"),
        ("name=a/b", "name = 'a/b': String should match pattern"),
        ("model.width=7", "model: width = 7 must be even; try 8"),
        ("training=3", "training = 3: training is a section; give it settings, not a value"),
        ("serving=", "serving = None: serving is a section; give it settings, not a value"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_limits(make_recipe: MakeRecipe, word: str, sentence: str) -> None:
    (problem,) = problems_of(make_recipe, word)
    assert problem.startswith(sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data.valid_fraction=0"], "data.valid_fraction = 0: training needs held-out conversations; try 0.05"),
        (["data.valid_fraction=0.5", "data.test_fraction=0.5"], "leave nothing to train on; their sum must be below 1"),
        (["training.batch_tokens=67"], "training.batch_tokens = 67: the longest exchange alone has "),
        (["training.max_microbatch_tokens=67"], "training.max_microbatch_tokens = 67: the longest exchange"),
        (["evaluation.batch_tokens=67"], "evaluation.batch_tokens = 67: the longest exchange"),
        (["training.warmup_steps=4"], "training.warmup_steps = 4 must be below training.num_steps = 4; try 0"),
        (["serving.min_replicas=3"], "serving.min_replicas = 3 is above serving.max_replicas = 2; raise "),
        (["serving.max_reply_tokens=21"], "serving.max_reply_tokens = 21: the model learns replies of up to "),
        (["decoding.min_reply_tokens=20"], "decoding.min_reply_tokens = 20 must be below text.max_reply_tokens = 20"),
        (
            ["storage.uri=s3://bucket/x"],
            "storage.uri = s3://bucket/x: the default MLflow store is a file and cannot",
        ),
        (
            ["storage.uri=s3://key:secret@bucket/x"],
            "storage.uri = s3://…@bucket/x: credentials do not belong in",
        ),
        (
            ["storage.uri=ftp://host/x"],
            "storage.uri = ftp://host/x: ftp:// is not known; give a directory, s3://",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(
    make_recipe: MakeRecipe, words: list[str], sentence: str
) -> None:
    (problem,) = problems_of(make_recipe, *words)
    assert sentence in problem


def test_values_at_the_very_limit_are_taken(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe("training.batch_tokens=68", "serving.max_reply_tokens=20", "decoding.min_reply_tokens=19")
    assert recipe.training.batch_tokens == 48 + 20


def test_all_problems_are_told_at_once(make_recipe: MakeRecipe) -> None:
    words = ["training.batch_tokens=0", "model.widht=3", "nam=3", "data.corpora.0.sed=3", "training.precision=fp4"]
    assert len(problems_of(make_recipe, *words)) == len(words)


def test_all_contradictions_are_told_at_once(make_recipe: MakeRecipe) -> None:
    words = ["training.warmup_steps=9", "serving.min_replicas=3", "evaluation.batch_tokens=1"]
    assert len(problems_of(make_recipe, *words)) == len(words)


def test_the_count_stands_at_the_top(make_recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: 1 problem\n"):
        make_recipe("nam=3")
    with pytest.raises(RecipeError, match=r"^recipe: 2 problems\n"):
        make_recipe("nam=3", "training.batch_tokens=0")
