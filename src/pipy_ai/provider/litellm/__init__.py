"""The LiteLLM backend."""
