"""The Ray Serve application: a registered model in, replies over HTTP out."""

from serve.app import build_application
from serve.deploy import Deployed, deploy
from serve.stages import ask_stage, deploy_stage, say_what_next, serve_until_stopped

__all__ = [
    "Deployed",
    "ask_stage",
    "build_application",
    "deploy",
    "deploy_stage",
    "say_what_next",
    "serve_until_stopped",
]
