"""A file of conversations in, the same rows with replies out."""

from rejoinder.replies.bulk import ROWS_PER_PIECE, Replies, counted, reply_to_file
from rejoinder.replies.questions import Question, question_of

__all__ = ["ROWS_PER_PIECE", "Question", "Replies", "counted", "question_of", "reply_to_file"]
