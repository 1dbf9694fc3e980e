"""A language model of half a megabyte with random weights, made on the spot: it talks nonsense and counts properly."""

from __future__ import annotations

import pathlib

import gguf
import numpy

VOCABULARY, WIDTH, INNER_WIDTH, HEADS, LAYERS, CONTEXT = 512, 64, 128, 4, 2, 2048
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1
"""Token types of the GGUF format."""


def write_tiny_model(path: pathlib.Path, seed: int = 1) -> None:
    """A llama-architecture GGUF file with a byte-fallback vocabulary, so that any text can be encoded."""
    rng = numpy.random.default_rng(seed)

    def noise(*shape: int) -> numpy.ndarray:
        return (rng.standard_normal(shape) * 0.1).astype(numpy.float32)

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER_WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{number:02X}>".encode() for number in range(256))]
    words = VOCABULARY - len(tokens)
    tokens += [f"▁w{number}".encode() for number in range(words)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-1000.0] * 256 + [-float(number) for number in range(words)])
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * words)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_tensor("token_embd.weight", noise(VOCABULARY, WIDTH))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    writer.add_tensor("output.weight", noise(VOCABULARY, WIDTH))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(WIDTH, numpy.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", noise(WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", noise(INNER_WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", noise(INNER_WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", noise(WIDTH, INNER_WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
