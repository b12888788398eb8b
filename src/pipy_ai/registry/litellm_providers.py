"""LiteLLM's names of providers, to tell a misspelled one from one that only LiteLLM knows.

From `LlmProviders` and `llms/openai_like/providers.json` of LiteLLM 1.110.2. A name that is not
here still goes to LiteLLM, unless it resembles one that is.
"""

from __future__ import annotations

import sys

LITELLM_PROVIDERS = frozenset(
    {
        "a2a", "a2a_agent", "abliteration", "ai21", "ai21_chat", "aiand", "aihubmix", "aiml",
        "aiohttp_openai", "amazon_nova", "anthropic", "anthropic_text", "apertis", "assemblyai",
        "auto_router", "aws_polly", "aws_textract", "azure", "azure_ai", "azure_speech",
        "azure_text", "baseten", "bedrock", "bedrock_mantle", "bespoke", "bigmodel",
        "black_forest_labs", "bytez", "cerebras", "charity_engine", "chatgpt", "chutes",
        "clarifai", "clf_ai_gateway", "cloudflare", "codestral", "cognition", "cohere",
        "cohere_chat", "cometapi", "compactifai", "coralbricks", "cortecs", "crusoe", "cursor",
        "custom", "custom_openai", "darkbloom", "dashscope", "databricks", "databricks_agent",
        "datarobot", "deepgram", "deepinfra", "deepseek", "docker_model_runner", "dotprompt",
        "edenai", "elevenlabs", "empiriolabs", "empower", "eu_jev", "fal_ai", "featherless_ai",
        "fireworks_ai", "friendliai", "galadriel", "gdc", "gemini", "gigachat", "github",
        "github_copilot", "gmi", "gradient_ai", "groq", "helicone", "heroku", "hosted_vllm",
        "hostinger_router", "huggingface", "humanloop", "hyperbolic", "inception", "inferenceapis",
        "infinity", "jina_ai", "kyma", "lambda_ai", "langflow", "langfuse", "langgraph", "laya",
        "lemonade", "libertai", "litellm_agent", "litellm_proxy", "llamafile", "llamagate",
        "lm_studio", "manus", "maritalk", "meta", "meta_llama", "microsoft_365_copilot", "milvus",
        "minimax", "mistral", "modelscope", "mongodb", "moonshot", "morph", "nace", "nadir",
        "nano-gpt", "nebius", "neosantara", "nlp_cloud", "novita", "nscale", "nvidia_nim",
        "nvidia_riva", "oci", "ollama", "ollama_chat", "oobabooga", "openai", "openai_like",
        "opencode_go", "openinfer", "openrouter", "opensearch", "ovhcloud", "parallel_ai",
        "parasail", "perplexity", "petals", "pg_vector", "pinstripes", "poe", "predibase", "prism",
        "publicai", "qwen_ai_platform", "qwencloud", "ragflow", "recraft", "reducto", "refuseless",
        "reka", "replicate", "runwayml", "s3_vectors", "sagemaker", "sagemaker_chat",
        "sagemaker_nova", "sail", "sambanova", "sap", "sarvam", "scaledown", "scaleway", "scx-ai",
        "snowflake", "soniox", "stability", "strands_decider", "streamlake", "synthetic",
        "tencent", "tensormesh", "text-completion-codestral", "text-completion-inception",
        "text-completion-openai", "together_ai", "topaz", "transcribe", "triton", "typesafe", "v0",
        "valkey", "veniceai", "vercel_ai_gateway", "vertex_ai", "vertex_ai_beta", "vllm",
        "volcengine", "voyage", "wally", "wandb", "watsonx", "watsonx_text", "xai", "xiaomi_mimo",
        "xinference", "zai", "zerogpu",
    }
)  # fmt: skip


def known_to_litellm() -> set[str]:
    """Return LiteLLM's providers, with those of `litellm.custom_provider_map`."""
    entries = getattr(sys.modules.get("litellm"), "custom_provider_map", None) or ()
    return {*LITELLM_PROVIDERS, *(str(entry.get("provider")) for entry in entries)}
