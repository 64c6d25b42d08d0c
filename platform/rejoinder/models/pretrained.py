"""A pretrained Hugging Face model, fine-tuned: all of it, or low-rank additions (LoRA); or a model whose halves start
from a pretrained encoder.

Tokens are those of its own tokenizer (`text.tokenizer: {name: hugging_face, path: ...}`): our id is its id + 16. The
embedding has 16 rows more, in front, for control tokens: the start and the end begin as the checkpoint's own, the
others are drawn with the mean and variance of its rows (Hewitt 2021).

The configuration is kept in the recipe and all weights in our checkpoints, so that a trained model is loaded without
the directory that it began with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.errors import ModelError
from rejoinder.models import pretrained_files as files
from rejoinder.models import pretrained_parts as library
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.layers import fill_up, output_layer
from rejoinder.models.settings import without_a_look
from rejoinder.recipe import PluginSettings
from rejoinder.recipe.base import AbsolutePath, absolute_path
from rejoinder.text import NUM_CONTROL_IDS, START_ID

if TYPE_CHECKING:
    from rejoinder.recipe import Recipe

MAX_SPARE_ROWS = 256
"""Rows of an embedding that its tokenizer has no token for: T5 has 28, for round numbers."""


class Settings(PluginSettings):
    name: Literal["pretrained"] = "pretrained"
    path: AbsolutePath
    """A directory with config.json and model.safetensors: T5, mT5, BART, mBART, BlenderBot, BlenderBot-small or
    Pegasus; or an encoder (BERT, RoBERTa, XLM-RoBERTa), from which both halves start. It is read when training starts;
    every worker must see it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of activations set to 0 while training; null: as the checkpoint says, mostly 0.1."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Rank of what is added to each adapted matrix (Hu et al. 2021); all else stays as it is. 0 trains all weights."""
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    """What is added is multiplied by lora_alpha / lora_rank."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapted matrix' inputs set to 0 on the way to what is added, while training."""
    lora_targets: tuple[str, ...] = ()
    """Names of the linear layers that are adapted, as the architecture calls them. Empty: queries and values."""
    config: dict[str, Any] | None = None
    """The architecture. null: the directory's config.json, which is written here, so that a trained model can be
    loaded when the directory is gone."""
    tied_output: bool | None = None
    """Whether the output layer is the embedding. null: as in the directory; goes with `config`."""
    weights: str | None = None
    """What the weights are recognised by: with others, a run is another one. null: read from the directory."""

    @model_validator(mode="before")
    @classmethod
    def _read_directory(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str):
            return tree
        files.require_packages("transformers")
        if tree.get("config") is None:
            files.require_packages(*(["peft"] if tree.get("lora_rank") else []))  # what is trained does not need it
            config, is_tied = files.read_architecture(absolute_path(tree["path"]))
            weights = files.weights_fingerprint(absolute_path(tree["path"]))
            tree = tree | {"config": config, "tied_output": is_tied, "weights": weights}
        return tree

    @model_validator(mode="after")
    def _not_lora_of_what_is_untrained(self) -> Settings:
        if self.lora_rank and self.kind in files.ENCODERS:
            raise ValueError(
                f"lora_rank = {self.lora_rank}: a decoder that starts from the encoder {self.kind!r} has yet to learn "
                "to read the context, with all of its weights; set lora_rank=0"
            )
        return self

    @property
    def kind(self) -> str:
        """`model_type` of the architecture."""
        return str((self.config or {}).get("model_type"))

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        if recipe.text.tokenizer.name != "hugging_face":
            yield (
                f"text.tokenizer = {recipe.text.tokenizer.name}: model.path = {self.path} knows the tokens of its own "
                f"tokenizer only; set text.tokenizer={{name: hugging_face, path: {self.path}}}"
            )
        longest = files.max_positions(self.config or {})
        for where, tokens in (
            ("max_context_tokens", recipe.text.max_context_tokens),
            ("max_reply_tokens", recipe.text.max_reply_tokens),
        ):
            if longest is not None and tokens > longest:
                yield f"text.{where} = {tokens}: model.path = {self.path} knows {longest} positions; ask for no more"
        yield from without_a_look(recipe, "model.name = pretrained")


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Pretrained:
    """The architecture with fresh weights; `load_pretrained` fills in the checkpoint's. Raises ModelError when the
    vocabulary is another one's."""
    rows = int((settings.config or {}).get("vocab_size", 0))
    if not 0 <= rows + NUM_CONTROL_IDS - num_ids <= MAX_SPARE_ROWS:
        raise ModelError(
            f"model.path = {settings.path} has embeddings of {rows:,} tokens, the prepared set's tokenizer has "
            f"{num_ids - NUM_CONTROL_IDS:,}; set text.tokenizer={{name: hugging_face, path: {settings.path}}}"
        )
    return Pretrained(settings, num_ids, max_context_tokens, max_reply_tokens)


def build_for_use(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Pretrained:
    """The architecture without LoRA's matrices, for `merged` weights. Needs no peft."""
    model = build(settings.model_copy(update={"lora_rank": 0}), num_ids, max_context_tokens, max_reply_tokens)
    if settings.lora_rank:
        model.add_control_rows()
    return model


def merged(settings: Settings, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A trained model's weights with what LoRA has learnt added to the matrices that it adapted."""
    return library.merge_lora(weights, settings.lora_alpha / settings.lora_rank) if settings.lora_rank else weights


class Pretrained(Seq2Seq):
    """See `Seq2Seq`. State: keys and values of both attentions, and how many reply tokens were read.

    For a step the reply's keys are moved to the right end of their tensor. So all rows stand at one place, as
    transformers wants it, and a mask says how far back each of them goes; what depends on places is relative (T5), or
    was added before keys were made (all others: `library.PositionsOfRows`).
    """

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        assert settings.config is not None  # the validator has seen to it
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        self._settings, self._config = settings, settings.config
        parts = library.make_parts(self._config, settings.dropout)
        self._input_scale, self._hidden_scale = parts.input_scale, parts.hidden_scale
        self.embedding = nn.Embedding(num_ids, parts.embedding_VD.shape[1])
        self.output = output_layer(self.embedding, tied=settings.tied_output is not False)
        for ours, theirs_VD in ((self.output, parts.output_VD), (self.embedding, parts.embedding_VD)):
            if not theirs_VD.is_meta:  # where weights are only counted
                nn.init.normal_(ours.weight, std=float(theirs_VD.std()))
        self.encoder, self.decoder, self.head = parts.encoder, parts.decoder, parts.head
        self._positions = [one for one in self.decoder.modules() if isinstance(one, library.PositionsOfRows)]
        self._reads_ids = parts.reads_ids
        if parts.reads_ids:
            parts.encoder.embed_tokens = parts.decoder.embed_tokens = library.Lookup(self._embed)
        self.control_rows_CD: nn.Parameter | None = None
        if settings.lora_rank:
            self._add_lora()

    def load_pretrained(self) -> None:
        parts = library.make_parts(self._config, self._settings.dropout, self._settings.path)
        for ours, theirs in ((self.encoder, parts.encoder), (self.decoder, parts.decoder), (self.head, parts.head)):
            own = {name.replace(".base_layer.", "."): tensor for name, tensor in ours.state_dict().items()}
            for name, tensor in theirs.state_dict().items():
                own[name].copy_(tensor)
        ends = files.start_and_end(self._settings.path, self._config)
        with torch.no_grad():
            library.fill_rows(self.embedding.weight, parts.embedding_VD, ends)
            if self.output.weight is not self.embedding.weight:
                library.fill_rows(self.output.weight, parts.output_VD, ends)
            library.fill_bias(self.output.bias, parts.output_bias_V, ends)

    def _add_lora(self) -> None:
        """What is trained: LoRA's matrices, and what is added to the embeddings of control tokens, which are new."""
        settings = self._settings
        targets = settings.lora_targets or files.SEQ2SEQ[settings.kind]
        for half in (self.encoder, self.decoder):
            library.add_lora(half, targets, settings.lora_rank, settings.lora_alpha, settings.lora_dropout)
        self.add_control_rows()
        for name, weight in self.named_parameters():
            weight.requires_grad_("lora_" in name or weight is self.control_rows_CD)

    def add_control_rows(self) -> None:
        """What is added to the embeddings of control tokens where they are read. Not merged: the output layer, which
        is mostly the same matrix, is to say what it said."""
        self.control_rows_CD = nn.Parameter(torch.zeros(NUM_CONTROL_IDS, self.embedding.embedding_dim))

    def hidden(self, batch: Batch) -> Tensor:
        memory_BSD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        # Padding stands at the end of a reply, behind all that is read: causality alone hides it.
        decoded = self.decoder(
            **self._read(batch.reply_input_ids_BT), encoder_hidden_states=memory_BSD,
            encoder_attention_mask=~batch.context_is_pad_BS, use_cache=False,
        )  # fmt: skip
        return self._finish(reply_tokens(decoded.last_hidden_state, batch))

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        memory_BSD = self._encode(context_ids_BS, context_is_pad_BS)
        B, device = len(context_ids_BS), context_ids_BS.device
        # One step is made for the context's keys and values alone: each architecture makes them in its own way.
        cache = library.make_cache([], [])
        self.decoder(
            **self._read(torch.full((B, 1), START_ID, device=device)), past_key_values=cache,
            encoder_hidden_states=memory_BSD, encoder_attention_mask=~context_is_pad_BS, use_cache=True,
        )  # fmt: skip
        state: State = {
            "num_read_B": torch.zeros(B, dtype=torch.long, device=device),
            "context_is_pad_BS": fill_up(context_is_pad_BS, self.max_context_tokens, value=True),
        }
        layers = zip(cache.cross_attention_cache.layers, cache.self_attention_cache.layers, strict=True)
        for number, (context, reply) in enumerate(layers):
            state[f"context_keys_{number}_BHSK"] = fill_up(context.keys, self.max_context_tokens, dim=2)
            state[f"context_values_{number}_BHSK"] = fill_up(context.values, self.max_context_tokens, dim=2)
            _, H, _, K = reply.keys.shape
            for name in (f"reply_keys_{number}_BHTK", f"reply_values_{number}_BHTK"):
                state[name] = reply.keys.new_zeros(B, H, self.max_reply_tokens, K)
        return state

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_read_B, context_is_pad_BS = state["num_read_B"], state["context_is_pad_BS"]
        replies = _pairs("reply", "BHTK", state)
        T = replies[0][0].shape[2]
        # Column t of the step is what a row read T - 1 - t tokens ago; the last is what it reads now.
        places_BT = torch.arange(T, device=ids_B.device) - (T - 1) + num_read_B[:, None]
        moved = [(_moved(keys, places_BT[:, :-1]), _moved(values, places_BT[:, :-1])) for keys, values in replies]
        cache = library.make_cache(moved, _pairs("context", "BHSK", state))
        # The context's keys and values are in the cache; only the shape of what they were made from is looked at.
        nothing_BSD = self.embedding.weight.new_zeros(()).expand(*context_is_pad_BS.shape, self.output.in_features)
        with self._each_row_at(num_read_B):
            decoded = self.decoder(
                **self._read(ids_B[:, None]), past_key_values=cache, use_cache=True,
                attention_mask=places_BT >= 0,
                encoder_hidden_states=nothing_BSD, encoder_attention_mask=~context_is_pad_BS,
            )  # fmt: skip
        logits_BV: Tensor = self.output(self._finish(decoded.last_hidden_state[:, 0]))
        rows_B = torch.arange(len(ids_B), device=ids_B.device)
        for (keys_BHTK, values_BHTK), layer in zip(replies, cache.self_attention_cache.layers, strict=True):
            keys_BHTK[rows_B, :, num_read_B] = layer.keys[:, :, -1]
            values_BHTK[rows_B, :, num_read_B] = layer.values[:, :, -1]
        return logits_BV, state | {"num_read_B": num_read_B + 1}

    def _each_row_at(self, places_B: Tensor) -> AbstractContextManager[None]:
        return self._positions[0].at(places_B) if self._positions else nullcontext()

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        encoded = self.encoder(**self._read(context_ids_BS), attention_mask=~context_is_pad_BS)
        memory_BSD: Tensor = encoded.last_hidden_state
        return memory_BSD

    def _read(self, ids: Tensor) -> dict[str, Tensor]:
        """What a half is called with."""
        return {"input_ids": ids} if self._reads_ids else {"inputs_embeds": self._embed(ids)}

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(ids)
        if self.control_rows_CD is not None:
            added_CD = F.pad(self.control_rows_CD, (0, 0, 0, 1))  # nothing to what is text
            embedded = embedded + F.embedding(ids.clamp(max=NUM_CONTROL_IDS), added_CD)
        return embedded * self._input_scale

    def _finish(self, hidden: Tensor) -> Tensor:
        finished: Tensor = self.head(hidden) * self._hidden_scale
        return finished


def _pairs(name: str, shape: str, state: State) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer."""
    layers = range(sum(key.startswith(f"{name}_keys_") for key in state))
    return [(state[f"{name}_keys_{layer}_{shape}"], state[f"{name}_values_{layer}_{shape}"]) for layer in layers]


def _moved(tensor_BHTK: Tensor, places_BT: Tensor) -> Tensor:
    """What stands at each row's places; at those below 0 anything."""
    B, H, _, K = tensor_BHTK.shape
    return tensor_BHTK.gather(2, places_BT.clamp(min=0)[:, None, :, None].expand(B, H, -1, K))
