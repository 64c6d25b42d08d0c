"""What every model promises. A model passes by being in the folder; give its `Settings` a `width`, and it is small."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from rejoinder import catalog
from rejoinder.batches import collate, pad
from rejoinder.errors import RecipeError
from rejoinder.loss import loss_sum
from rejoinder.models import Seq2Seq, State, empty_state, prepared_for_inference, select_rows
from rejoinder.recipe import Recipe
from rejoinder.text import END_ID, NUM_CONTROL_IDS, PAD_ID, START_ID

NUM_IDS, MAX_CONTEXT, MAX_REPLY = 40, 12, 10
SMALL = {"width": 16, "num_heads": 2, "feedforward_width": 32}
"""Whichever of these a model's settings have."""
_BART = {
    "vocab_size": 24, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 12,
}  # fmt: skip
_BERT = {
    "vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 14,
}  # fmt: skip
_T5 = {"vocab_size": 24, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
MINIATURES: dict[str, dict[str, Any]] = {
    "pretrained t5": _T5 | {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12},
    "pretrained bart": _BART,
    "pretrained bert": _BERT,
}
"""Architectures that a pretrained model may have: built from their configuration, they need no directory."""
DROPOUTS = ["dropout", "embedding_dropout", "word_dropout", "attention_dropout", "feedforward_dropout", "layer_drop"]
Rows = list[list[int]]


def build(name: str, seed: int = 0, **changes: object) -> Seq2Seq:
    """A small model in evaluation mode."""
    wanted = settings_for(name, **changes)
    plugin = catalog.pick("rejoinder.models", wanted["name"])
    torch.manual_seed(seed)
    model: Seq2Seq = plugin.build(plugin.Settings(**wanted), NUM_IDS, MAX_CONTEXT, MAX_REPLY)
    return model.eval()


def settings_for(name: str, **changes: Any) -> dict[str, Any]:
    """Those of a small model."""
    name, *kind = name.split()
    if kind:
        config = MINIATURES[f"{name} {kind[0]}"] | {"model_type": kind[0]}
        changes |= {"path": "/not/looked/at", "config": config, "tied_output": True, "dropout": 0.0} | changes
    known = catalog.pick("rejoinder.models", name).Settings.model_fields
    return {"name": name} | {key: value for key, value in (SMALL | changes).items() if key in known}


def settings_of(name: str) -> set[str]:
    """What the model can be told."""
    return set(catalog.pick("rejoinder.models", name.split()[0]).Settings.model_fields)


NAMES = [*(name for name in catalog.names("rejoinder.models") if name != "pretrained"), *MINIATURES]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh_model(name: str) -> Seq2Seq:
    return build(name)


@pytest.fixture
def model(name: str) -> Seq2Seq:
    """With larger weights than a fresh one, which hardly looks at its context: what must not be seen would show."""
    return enlarged(build(name))


def enlarged(model: Seq2Seq) -> Seq2Seq:
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


def some_rows(number: int = 6, seed: int = 0) -> tuple[Rows, Rows]:
    """Contexts and replies of many lengths, the shortest and the longest among them."""
    chance = random.Random(seed)

    def ids(length: int) -> list[int]:
        return [chance.randrange(NUM_CONTROL_IDS, NUM_IDS) for _ in range(length)]

    context_lengths = [1, MAX_CONTEXT, *(chance.randint(2, MAX_CONTEXT) for _ in range(number - 2))]
    reply_lengths = [MAX_REPLY, 1, *(chance.randint(2, MAX_REPLY) for _ in range(number - 2))]
    return [ids(length) for length in context_lengths], [[*ids(length - 1), END_ID] for length in reply_lengths]


def logits_of_rows(model: Seq2Seq, contexts: Rows, replies: Rows) -> list[Tensor]:
    """All at once: logits_TV of each row, without padding."""
    logits_NV = model(collate(contexts, replies)).detach()
    return list(logits_NV.split([len(reply) for reply in replies]))


def start(model: Seq2Seq, contexts: Rows) -> State:
    context_ids_BS = pad(contexts)
    return model.start(context_ids_BS, context_ids_BS == PAD_ID)


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_logits_are_those_of_the_replies_tokens(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    assert model(collate(contexts, replies)).shape == (sum(map(len, replies)), NUM_IDS)


def test_logits_are_the_output_layers_of_what_is_hidden(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    batch = collate(contexts, replies)
    hidden_ND = model.hidden(batch)
    assert hidden_ND.shape == (sum(map(len, replies)), model.output.in_features)
    assert model.output.weight.shape == (NUM_IDS, model.output.in_features)
    assert torch.equal(model.output(hidden_ND), model(batch))


def test_a_loss_of_piece_after_piece_teaches_the_same(model: Seq2Seq) -> None:
    """Logits need never stand in memory all at once: pieces of hidden_ND have them, and their gradients add up."""
    batch = collate(*some_rows())
    expected_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
    weights = list(model.parameters())
    at_once = torch.autograd.grad(loss_sum(model(batch), expected_N), weights)
    pieces = zip(model.hidden(batch).split(7), expected_N.split(7), strict=True)
    losses = [loss_sum(model.output(hidden_ND), ids_N) for hidden_ND, ids_N in pieces]
    for one, other in zip(at_once, torch.autograd.grad(sum(losses, torch.zeros(())), weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_it_says_what_it_can_take(model: Seq2Seq) -> None:
    assert (model.num_ids, model.max_context_tokens, model.max_reply_tokens) == (NUM_IDS, MAX_CONTEXT, MAX_REPLY)


def test_neither_padding_nor_the_other_rows_change_a_row(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    together = logits_of_rows(model, contexts, replies)
    for row in range(len(contexts)):
        (alone,) = logits_of_rows(model, contexts[row : row + 1], replies[row : row + 1])
        assert_close(alone, together[row])


def test_a_later_token_changes_nothing_before_it(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    changed = [reply[:3] + [NUM_CONTROL_IDS for _ in reply[3:]] for reply in replies]
    before, after = logits_of_rows(model, contexts, replies), logits_of_rows(model, contexts, changed)
    for one, other in zip(before, after, strict=True):
        assert_close(one[:4], other[:4])  # the fourth is said after reading three


def test_every_token_of_the_context_counts(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    for place in range(MAX_CONTEXT):
        changed = [*contexts[1][:place], contexts[1][place] ^ 1, *contexts[1][place + 1 :]]
        one, other = (logits_of_rows(model, [context], replies[:1])[0] for context in (contexts[1], changed))
        assert (one - other).abs().max() > 0.01, place


def test_the_order_of_the_context_counts(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    one, other = (logits_of_rows(model, [context], replies[:1])[0] for context in (contexts[1], contexts[1][::-1]))
    assert (one - other).abs().max() > 0.01


def test_step_by_step_is_the_same_as_all_at_once(model: Seq2Seq) -> None:
    contexts, replies = some_rows()
    at_once, state = logits_of_rows(model, contexts, replies), start(model, contexts)
    said_BT = collate(contexts, replies).reply_input_ids_BT
    for place in range(MAX_REPLY):
        logits_BV, state = model.step(said_BT[:, place], state)
        for row, expected_TV in enumerate(at_once):
            if place < len(expected_TV):
                assert_close(logits_BV[row].detach(), expected_TV[place])


def test_rows_at_different_positions_share_a_step(model: Seq2Seq) -> None:
    """Requests join and leave at every step: row 0 begins alone, row 2 joins, row 0 leaves, rows change places."""
    contexts, _ = some_rows(3)
    replies = [[20, 21, 22, 23, 24, END_ID], [25, END_ID], [30, 31, 32, 33, END_ID]]
    expected = logits_of_rows(model, contexts, replies)
    place = [0, 0, 0]

    def step(rows: list[int], state: State) -> State:
        ids_B = torch.tensor([replies[row][place[row] - 1] if place[row] else START_ID for row in rows])
        logits_BV, state = model.step(ids_B, state)
        for logits_V, row in zip(logits_BV, rows, strict=True):
            assert_close(logits_V.detach(), expected[row][place[row]])
            place[row] += 1
        return state

    def join(one: State, other: State) -> State:
        return {key: torch.cat([one[key], other[key]]) for key in one}

    state = step([0], step([0], start(model, contexts[:1])))
    state = step([0, 2], join(state, start(model, contexts[2:])))
    state = step([2, 0], select_rows(state, torch.tensor([1, 0])))
    state = step([2], select_rows(state, torch.tensor([0])))
    step([2, 1], join(state, start(model, contexts[1:2])))
    assert place == [4, 1, 4]


def test_a_row_taken_twice_goes_two_ways(model: Seq2Seq) -> None:
    """What beams do."""
    contexts, _ = some_rows()
    _, state = model.step(torch.tensor([START_ID]), start(model, contexts[1:2]))
    logits_BV, state = model.step(torch.tensor([20, 21]), select_rows(state, torch.tensor([0, 0])))
    logits_BV, _ = model.step(torch.tensor([22, 22]), state)
    for row, reply in enumerate(([20, 22, END_ID], [21, 22, END_ID])):
        assert_close(logits_BV[row].detach(), logits_of_rows(model, contexts[1:2], [reply])[0][2])


def test_the_state_has_rows_first_and_one_size_whatever_the_context(model: Seq2Seq) -> None:
    short, long = start(model, [[20]]), start(model, [[20] * MAX_CONTEXT, [21], [22, 23]])
    assert {tensor.shape[0] for tensor in short.values()} == {1}
    assert {tensor.shape[0] for tensor in long.values()} == {3}
    sizes = [{key: (tensor.shape[1:], tensor.dtype) for key, tensor in state.items()} for state in (short, long)]
    assert sizes[0] == sizes[1]
    _, after = model.step(torch.tensor([START_ID]), short)
    assert {key: (tensor.shape[1:], tensor.dtype) for key, tensor in after.items()} == sizes[0]


def test_the_names_in_a_state_end_in_the_dimensions(model: Seq2Seq) -> None:
    state = start(model, [[20], [21, 22]])
    sizes: dict[str, set[int]] = {}
    for name, tensor in state.items():
        dimensions = name.rpartition("_")[2]
        assert dimensions.startswith("B")
        for letter, size in zip(dimensions, tensor.shape, strict=True):
            sizes.setdefault(letter, set()).add(size)
    assert sizes["B"] == {2}
    assert sizes.get("S", {MAX_CONTEXT}) == {MAX_CONTEXT}
    assert sizes.get("T", {MAX_REPLY}) == {MAX_REPLY}


@torch.inference_mode()
def test_a_state_may_be_cut_to_what_its_rows_need(model: Seq2Seq) -> None:
    """So a step costs what the rows that run need, not what the longest context and the longest reply would."""
    contexts, replies = [[20, 21, 22], [23], [24, 25]], [[30, 31, END_ID], [32, 33, 34, 35, END_ID], [36, END_ID]]
    expected, slots = logits_of_rows(model, contexts, replies), start(model, contexts)
    said_BT = collate(contexts, replies).reply_input_ids_BT

    def cut(name: str, tensor: Tensor, num_read: int) -> Tensor:
        sizes = {"S": 3, "T": num_read + 1}
        places = (slice(sizes.get(letter)) for letter in name.rpartition("_")[2])
        return tensor[tuple(places)]

    for num_read in range(5):
        given = {name: cut(name, tensor, num_read) for name, tensor in slots.items()}
        logits_BV, after = model.step(said_BT[:, num_read], given)
        assert {name: tensor.shape for name, tensor in after.items()} == {n: t.shape for n, t in given.items()}
        for name, tensor in slots.items():
            cut(name, tensor, num_read).copy_(after[name])
        for row, expected_TV in enumerate(expected):
            if num_read < len(expected_TV):
                assert_close(logits_BV[row].detach(), expected_TV[num_read])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.1)])
@torch.inference_mode()
def test_prepared_for_inference_it_says_the_same(name: str, precision: Any, tolerance: float) -> None:
    """Within a share of the largest logit, at every step; and the model stays as it was. Large random weights are hard
    on bytes: int8 is tried with fresh ones, and `bench engine-precision` measures what it costs a trained model."""
    model = build(name) if precision == "int8" else enlarged(build(name))
    contexts, replies = some_rows()
    before = logits_of_rows(model, contexts, replies)
    fast = prepared_for_inference(model, precision)
    state, said_BT = start(fast, contexts), collate(contexts, replies).reply_input_ids_BT
    sizes = {name: tensor.shape for name, tensor in state.items()}
    for place in range(MAX_REPLY):
        logits_BV, state = fast.step(said_BT[:, place], state)
        for row, expected_TV in enumerate(before):
            if place < len(expected_TV):
                atol = tolerance * float(expected_TV.abs().max())
                torch.testing.assert_close(logits_BV[row], expected_TV[place], atol=atol, rtol=0)
    assert {name: tensor.shape for name, tensor in state.items()} == sizes
    assert {logits_BV.dtype, *(tensor.dtype for tensor in fast.parameters())} == {torch.float32}
    assert all(map(torch.equal, logits_of_rows(model, contexts, replies), before))


def test_an_empty_state_has_room_for_rows(model: Seq2Seq) -> None:
    state = start(model, [[20]])
    empty = empty_state(state, 5)
    assert {key: tensor.shape for key, tensor in empty.items()} == {
        key: (5, *tensor.shape[1:]) for key, tensor in state.items()
    }
    assert not any(tensor.any() for tensor in empty.values())


def test_saved_weights_give_the_same_logits(name: str, model: Seq2Seq) -> None:
    other = build(name, seed=1)
    before = logits_of_rows(other, *some_rows())
    other.load_state_dict(load(save(model.state_dict())))
    after, expected = logits_of_rows(other, *some_rows()), logits_of_rows(model, *some_rows())
    assert all(map(torch.equal, after, expected))
    assert not all(map(torch.equal, before, expected))


def test_one_seed_builds_one_model(name: str) -> None:
    one, same, other = (build(name, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", [name for name in NAMES if "tied_embeddings" in settings_of(name)])
def test_an_output_layer_of_its_own_is_a_further_matrix(name: str) -> None:
    tied, untied = build(name), build(name, tied_embeddings=False)
    assert untied.num_parameters == tied.num_parameters + NUM_IDS * tied.output.in_features
    contexts, replies = some_rows()
    at_once, state = logits_of_rows(untied, contexts, replies), start(untied, contexts)
    logits_BV, _ = untied.step(torch.full((len(contexts),), START_ID), state)
    for row, logits_TV in enumerate(at_once):
        assert_close(logits_BV[row].detach(), logits_TV[0])
    other = build(name, seed=1, tied_embeddings=False)
    other.load_state_dict(load(save(untied.state_dict())))
    assert all(map(torch.equal, logits_of_rows(other, contexts, replies), at_once))


def test_at_the_start_it_is_sure_of_nothing(fresh_model: Seq2Seq) -> None:
    """Logits of about unit size: a first loss near ln V, from which training comes down quickly."""
    contexts, replies = some_rows(40)
    batch = collate(contexts, replies)
    loss = loss_sum(fresh_model(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]) / sum(map(len, replies))
    assert loss.item() == pytest.approx(torch.tensor(NUM_IDS).log().item(), abs=1.0)


@pytest.mark.parametrize(("name", "kind"), [(n, kind) for n in NAMES for kind in DROPOUTS if kind in settings_of(n)])
def test_dropout_is_for_training_only(name: str, kind: str) -> None:
    model, contexts, replies = enlarged(build(name, **{kind: 0.5})), *some_rows()
    once, twice = logits_of_rows(model, contexts, replies), logits_of_rows(model, contexts, replies)
    assert all(map(torch.equal, once, twice))
    logits_BV, _ = model.step(torch.full((len(contexts),), START_ID), start(model, contexts))
    for row, logits_TV in enumerate(once):
        assert_close(logits_BV[row].detach(), logits_TV[0])
    assert not all(map(torch.equal, once, logits_of_rows(model.train(), contexts, replies)))


def test_every_weight_learns(fresh_model: Seq2Seq) -> None:
    batch = collate(*some_rows())
    loss_sum(fresh_model.train()(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]).backward()
    still = [name for name, weight in fresh_model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


def test_it_can_learn_a_batch_by_heart(fresh_model: Seq2Seq) -> None:
    batch = collate(*some_rows())
    expected_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
    optimizer = torch.optim.Adam(fresh_model.train().parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = loss_sum(fresh_model(batch), expected_N) / len(expected_N)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_it_runs_and_learns_in_bfloat16(fresh_model: Seq2Seq) -> None:
    batch = collate(*some_rows())
    expected_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
    exact = loss_sum(fresh_model(batch), expected_N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_sum(fresh_model(batch), expected_N)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in fresh_model.parameters())
    assert {weight.dtype for weight in fresh_model.parameters()} == {torch.float32}


def test_its_weights_are_counted(model: Seq2Seq) -> None:
    assert model.num_parameters == sum(weight.numel() for weight in model.parameters()) > NUM_IDS * 16


def test_a_recipe_can_ask_only_a_model_that_tells_where_it_looks_for_coverage(
    name: str, model: Seq2Seq, make_recipe: Callable[..., Recipe]
) -> None:
    batch = collate([[20, 21], [22]], [[23, END_ID], [END_ID]])
    assert model.tells_where_it_looks == (model.looked_at(batch) is not None)
    wanted = [f"model={json.dumps(settings_for(name))}", "decoding.num_beams=2", "decoding.temperature=0"]
    with nullcontext() if model.tells_where_it_looks else pytest.raises(RecipeError, match="does not tell where it"):
        make_recipe(*wanted, "decoding.coverage_penalty=0.2")
