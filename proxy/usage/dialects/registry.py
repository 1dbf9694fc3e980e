"""All dialects, in the order in which they are asked; and which APIs must report usage.

Order matters where shapes overlap: the narrow ones come first, `OtherUsage` last.
"""

from __future__ import annotations

from proxy.usage.dialects import Dialect, Object
from proxy.usage.dialects.anthropic import AnthropicBatchResults, AnthropicComplete, AnthropicMessages
from proxy.usage.dialects.bedrock import BedrockConverse, BedrockNative
from proxy.usage.dialects.cohere import Cohere
from proxy.usage.dialects.gemini import GeminiContent, GeminiEmbeddings, GeminiInteractions, VertexPredict
from proxy.usage.dialects.llama_api import LlamaApi
from proxy.usage.dialects.model_servers import LlamaCpp, TextGenerationInference, Watsonx
from proxy.usage.dialects.ollama import Ollama
from proxy.usage.dialects.openai_chat import OpenAIChat
from proxy.usage.dialects.openai_jobs import OpenAIBatch, OpenAIRuns
from proxy.usage.dialects.openai_lists import OpenAIList
from proxy.usage.dialects.openai_media import OpenAIAudio, OpenAIImages
from proxy.usage.dialects.openai_responses import OpenAIResponses
from proxy.usage.dialects.other_usage import OtherUsage
from proxy.usage.dialects.stored_work import GeminiBatch, Replicate
from proxy.usage.dialects.vercel_model import VercelModel

DIALECTS: tuple[type[Dialect], ...] = (
    OpenAIChat,
    AnthropicMessages,
    OpenAIResponses,
    Cohere,
    GeminiEmbeddings,
    GeminiInteractions,
    VercelModel,
    BedrockConverse,
    OpenAIRuns,
    OpenAIBatch,
    OpenAIImages,
    OpenAIList,
    OpenAIAudio,
    Ollama,
    VertexPredict,
    BedrockNative,
    GeminiContent,
    AnthropicBatchResults,
    AnthropicComplete,
    TextGenerationInference,
    LlamaCpp,
    Watsonx,
    LlamaApi,
    GeminiBatch,
    Replicate,
    OtherUsage,
)

GENERATING_APIS = frozenset(
    {
        "openai.chat",
        "openai.completions",
        "openai.responses",
        "anthropic.messages",
        "anthropic.complete",
        "gemini.generate_content",
        "gemini.interactions",
        "bedrock.converse",
        "bedrock.invoke",
        "cohere.chat",
        "cohere.generate",
        "ollama.chat",
        "ollama.generate",
        "mistral.fim",
        "huggingface.generate",
        "llamacpp.completion",
        "watsonx.generate",
        "llama_api.chat",
        "vercel.language_model",
    }
)
"""APIs whose output is text made token by token: an answer that was cut can be estimated from the text seen."""

REPORTING_APIS = GENERATING_APIS | {
    "openai.embeddings",
    "openai.rerank",
    "cohere.embed",
    "cohere.rerank",
    "ollama.embed",
    "vertex.predict",
    "mistral.ocr",
}
"""APIs whose successful answers carry usage: one without is counted as missing. Gemini's older embedding models, moderations,
files, images by the piece and speech never report any."""


def choose(name: str, event: Object) -> Dialect | None:
    """The dialect of an answer by one of its events; None where this event does not tell."""
    for dialect in DIALECTS:
        if dialect.matches(name, event):
            return dialect()
    return None
