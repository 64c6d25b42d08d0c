"""The Ray Serve application: a registered model in, replies over HTTP out.

What stands here is imported when it is first asked for: Ray and the models take seconds, and jobs/keys.py needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serve.app import build_application
    from serve.deployment import Deployed, deploy
    from serve.stages import ask_stage, deploy_stage, say_what_next, serve_until_stopped
    from serve.words import require_words_of_serving

__all__ = [
    "Deployed",
    "ask_stage",
    "build_application",
    "deploy",
    "deploy_stage",
    "require_words_of_serving",
    "say_what_next",
    "serve_until_stopped",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve import app, deployment, stages, words

    return next(getattr(module, name) for module in (app, deployment, stages, words) if hasattr(module, name))
