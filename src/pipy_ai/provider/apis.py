"""The names of the APIs, as in `message.api`."""

OPENAI_CHAT = "openai-completions"
OPENAI_RESPONSES = "openai-responses"
ANTHROPIC = "anthropic-messages"
GEMINI = "google-generative-ai"
BEDROCK = "bedrock-converse"
OLLAMA_CHAT = "ollama-chat"
COHERE_CHAT = "cohere-chat"
