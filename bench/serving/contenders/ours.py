"""Our endpoint with an untrained model, on a Ray of its own; told to lose a replica, or to have another champion."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch

from bench.serving import corpus
from bench.serving.contenders.orders import answer, arguments, obey
from rejoinder import checkpoints, cluster
from rejoinder.batches import Position
from rejoinder.models import build_model
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import Recipe, override, validate
from rejoinder.registry import Registry
from rejoinder.registry.documents import CHECKPOINT_FOLDER
from rejoinder.text import Tokenizer, train_tokenizer
from rejoinder.text.tokenizers import byte_bpe


class Ours:
    """What can be done to the endpoint."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self._number = recipe, 0
        self._tokenizer = tokenizer_of(recipe)

    def publish(self) -> int:
        """One more version with other weights; its number."""
        from mlflow import MlflowClient

        registry = Registry(self.recipe)
        client, model = MlflowClient(registry.uri, registry.uri), self.recipe.registry.model
        if self._number == 0:
            client.create_registered_model(model)
        self._number += 1
        source = Path(self.recipe.storage.uri) / f"version-{self._number}"
        torch.manual_seed(self._number)
        made = build_model(self.recipe, self._tokenizer.num_ids)
        progress = checkpoints.Progress(1, Position(), "0123456789abcdef", {"valid_loss": 2.0})
        optimizer = build_optimizer(made, self.recipe.training)
        checkpoints.save(source / "checkpoint", made, optimizer, self._tokenizer.to_json(), self.recipe, progress)
        (source / "artifacts").mkdir()
        checkpoints.export(source / "checkpoint", source / "artifacts" / CHECKPOINT_FOLDER)
        client.create_model_version(model, source.as_uri())
        return self._number

    def register(self) -> dict[str, Any]:
        """A version that nobody is given yet."""
        return {"number": self.publish()}

    def promote(self, number: int) -> dict[str, Any]:
        """It becomes the champion."""
        from mlflow import MlflowClient

        uri = Registry(self.recipe).uri
        MlflowClient(uri, uri).set_registered_model_alias(self.recipe.registry.model, "champion", str(number))
        return {"number": number}

    def deploy(self) -> str:
        """The address at which it answers."""
        from serve import deploy

        return deploy(self.recipe).url

    def champion(self) -> dict[str, Any]:
        """Another one."""
        return self.promote(self.publish())

    def redeploy(self) -> dict[str, Any]:
        """New replicas instead of the old ones, which Serve makes whenever the code's arguments differ."""
        begun = time.time()
        tree = self.recipe.model_dump(mode="json")
        self.recipe = validate(override(tree, [f"serving.fallback_reply=Pardon {random.random()}?"]))
        self.deploy()
        return {"seconds": time.time() - begun}

    def kill(self) -> dict[str, Any]:
        """Ends a replica by SIGKILL."""
        pids = self.pids()
        if pids:
            os.kill(random.choice(pids), signal.SIGKILL)
        return {"killed": len(pids) > 0}

    def pids(self) -> list[int]:
        """Of the replicas that live."""
        from ray._private import state

        table = state.actors(actor_state_name="ALIVE").values()
        return [actor["Pid"] for actor in table if actor["Name"].startswith("SERVE_REPLICA::")]

    def replicas(self) -> dict[str, Any]:
        """How many are running, by Serve's own count."""
        from ray import serve

        status = serve.status().applications[self.recipe.serving.application].deployments["chat"]
        return {"running": int(status.replica_states.get("RUNNING", 0))}

    def memory(self) -> dict[str, Any]:
        """Megabytes that the replicas, and the proxies, have resident."""
        from ray._private import state

        found = {"replicas_mb": 0.0, "proxies_mb": 0.0}
        for actor in state.actors(actor_state_name="ALIVE").values():
            for prefix, name in (("SERVE_REPLICA::", "replicas_mb"), ("SERVE_PROXY", "proxies_mb")):
                if actor["Name"].startswith(prefix):
                    found[name] += _resident_mb(actor["Pid"])
        return found


def tokenizer_of(recipe: Recipe) -> Tokenizer:
    """Learnt from what people said, the same each time."""
    said = ([text] for text in corpus.texts(200_000))
    return train_tokenizer(byte_bpe.Settings(), said, recipe.text.vocabulary_size)


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def main(port: int, home: str, **serving: Any) -> None:
    """Serves until nobody gives orders any more."""
    ours = Ours(validate(corpus.recipe(Path(home), port, **serving)))
    ours.champion()
    orders = ("champion", "register", "promote", "redeploy", "kill", "replicas", "memory")
    with cluster.connect(ours.recipe):
        answer(url=ours.deploy())
        obey({order: getattr(ours, order) for order in orders})


if __name__ == "__main__":
    main(**arguments())
