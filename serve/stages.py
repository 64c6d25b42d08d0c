"""Serving as stages of the corridor: deploy a version, ask it something, say where to go next."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request

from rejoinder import cluster, console
from rejoinder.errors import ServingError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry
from serve.deployment import Deployed, deploy, drain
from serve.reaching import reach

KEY_VARIABLE = "REJOINDER_API_KEY"
QUESTION = "Hello! How are you today?"


def deploy_stage(recipe: Recipe) -> Deployed:
    """The recipe's alias behind an HTTP endpoint. Needs a Ray connection."""
    with console.stage(f"Deploy: models:/{recipe.registry.model}@{recipe.serving.alias} on Ray Serve"):
        deployed = deploy(recipe)
        console.say(f"   {deployed.version} answers at {deployed.url}/v1/chat/completions")
    return deployed


def ask_stage(recipe: Recipe, deployed: Deployed, question: str = QUESTION) -> str:
    """One question over HTTP; the reply."""
    with console.stage("Ask over HTTP"):
        reply = ask(deployed.url, recipe, question)
        console.say(f"   you:    {question}")
        console.say(f"   model:  {reply}")
    return reply


def serve_until_stopped(recipe: Recipe) -> None:
    """Deploys; in a Ray of our own, stays until Ctrl-C or SIGTERM and then ends what has begun; in a cluster that goes
    on by itself, returns."""
    with cluster.connect(recipe):
        deployed = deploy_stage(recipe)
        console.say(f"\n{curl_line(recipe)}")
        if recipe.cluster.address != "local":
            return
        console.say(f"\nServing at {deployed.url} until Ctrl-C.")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what batch systems and containers send
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.say("stopping when the replies that have begun are written; once more stops at once")
            with contextlib.suppress(KeyboardInterrupt):
                drain(recipe)


def say_what_next(recipe: Recipe, recipe_word: str = "") -> None:
    """Where to go from the end of the corridor."""
    word = f" {recipe_word}" if recipe_word else ""
    console.say("\nWhere to go next")
    console.say(f"   talk to it:      .venv/bin/python jobs/chat.py{word}")
    console.say(f"   serve it:        .venv/bin/python jobs/deploy.py{word}      then, in another terminal:")
    console.say(f"                    {curl_line(recipe)}")
    console.say(f"   look at runs:    .venv/bin/mlflow ui --backend-store-uri {Registry(recipe).uri}")
    console.say("   train your own:  .venv/bin/python jobs/train.py --help")


def ask(endpoint: str, recipe: Recipe, question: str, timeout_s: float = 60) -> str:
    """The reply to one message, with the environment's REJOINDER_API_KEY. Raises ServingError with the server's own
    words."""
    url, model = f"{endpoint}/v1/chat/completions", recipe.registry.model
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]}).encode()
    headers = {"content-type": "application/json"}
    if key := os.environ.get(KEY_VARIABLE):
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, body, headers)
    try:
        with reach(request, recipe.serving, timeout_s) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        raise ServingError(f"{url} answered {error.code}: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise ServingError(f"{url} does not answer: {error}") from None


def curl_line(recipe: Recipe) -> str:
    """A request to paste into a shell."""
    body = json.dumps({"model": recipe.registry.model, "messages": [{"role": "user", "content": QUESTION}]})
    key = f'-H "authorization: Bearer ${KEY_VARIABLE}" ' if recipe.serving.needs_keys else ""
    return f"curl {recipe.serving.url}/v1/chat/completions {key}-H 'content-type: application/json' -d '{body}'"
