"""What MLflow runs to load a registered model: `mlflow.pyfunc.load_model("models:/chat@champion").predict(...)`.

MLflow keeps this file as it is ("models from code"), so loading a version reads code and safetensors, never a pickle.
"""

from pathlib import Path

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.registry.documents import CHECKPOINT_FOLDER, verify_version


class Message(BaseModel):
    """One turn."""

    role: str
    content: str


class ChatInput(BaseModel):
    """One conversation."""

    messages: list[Message]


class ChatModel(PythonModel):
    """Conversations in, the assistant's reply to each out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the checkpoint that the version carries; the sha256 of every file of the version is compared."""
        checkpoint = Path(context.artifacts[CHECKPOINT_FOLDER])
        verify_version(checkpoint.parent)
        self._responder = Responder(checkpoints.load(checkpoint))
        self._responder.engine.start()

    def predict(self, context: PythonModelContext, model_input: list[ChatInput]) -> list[str]:
        """One reply for each conversation."""
        return [self._reply(chat.messages) for chat in model_input]

    def _reply(self, messages: list[Message]) -> str:
        turns = [Turn(message.role, message.content) for message in messages]
        return self._responder.reply(self._responder.context(turns, "assistant")).text


mlflow.models.set_model(ChatModel())
