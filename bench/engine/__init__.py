"""Replies against CTranslate2 and Hugging Face's generate. One file a question."""
