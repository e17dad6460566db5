"""Small transformers with random weights, made and saved by transformers itself, and their hidden states."""

import contextlib

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.models.llama import modeling_llama
from transformers.utils import logging

logging.disable_progress_bar()

TEXT = "the cat sat on the mat , and the dog sat on the cat ."
WIDTH = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 64}
ENCODER = WIDTH | {"max_position_embeddings": 40, "num_hidden_layers": 3}
GPT2 = {"n_embd": 32, "n_head": 4, "n_positions": 40, "vocab_size": 64, "bos_token_id": None, "eos_token_id": None}
LLAMA = WIDTH | {"num_hidden_layers": 3, "num_key_value_heads": 2, "max_position_embeddings": 40}
SCALED = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 24}  # fmt: skip

# the families, and what their configurations can say besides
MAKES = {
    "bert": lambda: (transformers.BertModel, transformers.BertConfig(**ENCODER, hidden_act="gelu")),
    "bert-decoder": lambda: (transformers.BertModel, transformers.BertConfig(**ENCODER, is_decoder=True)),
    "albert": lambda: (transformers.AlbertModel, transformers.AlbertConfig(**ENCODER, embedding_size=16)),
    "albert-groups": lambda: (
        transformers.AlbertModel,
        transformers.AlbertConfig(**ENCODER, embedding_size=16, num_hidden_groups=2, inner_group_num=2),
    ),
    "gpt2": lambda: (
        transformers.GPT2Model,
        transformers.GPT2Config(**GPT2, n_layer=3),
    ),
    "gpt2-unscaled": lambda: (
        transformers.GPT2Model,
        transformers.GPT2Config(**GPT2, n_layer=2, n_inner=40, scale_attn_weights=False, activation_function="relu"),
    ),
    "llama": lambda: (transformers.LlamaModel, transformers.LlamaConfig(**LLAMA)),
    "llama-biased": lambda: (
        transformers.LlamaModel,
        transformers.LlamaConfig(**LLAMA, head_dim=6, attention_bias=True, mlp_bias=True,
                                 rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}),
    ),
    "llama-scaled": lambda: (transformers.LlamaModel, transformers.LlamaConfig(**LLAMA, rope_parameters=SCALED)),
}  # fmt: skip


class _InDouble:
    """The module torch to whom single precision is double."""

    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def in_double(dtype):
    """Llama as its formulas say, where the type is float64.

    transformers computes its root mean squares, the angles of its rotary positions and its softmax in float32 whatever
    the model's type is, which would be the error of the comparison.
    """
    rope = transformers.modeling_rope_utils
    before = modeling_llama.torch, rope.torch
    if dtype == "float64":
        modeling_llama.torch = rope.torch = _InDouble()
    try:
        yield
    finally:
        modeling_llama.torch, rope.torch = before


def made(name, dtype="float32"):
    """A model whose every tensor is random and matters."""
    kind, config = MAKES[name]()
    config._attn_implementation = "eager"
    model = kind(config).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            gain = module.weight if isinstance(module, torch.nn.LayerNorm | modeling_llama.LlamaRMSNorm) else None
            for tensor in module.parameters(recurse=False):
                spread = 0.3 if tensor.ndim == 1 else 1.5 / tensor.shape[-1] ** 0.5
                tensor.copy_((tensor is gain) + spread * torch.randn(tensor.shape, generator=draw))
    return model.to(getattr(torch, dtype))


def hidden_states(model, ids, dtype):
    """What transformers gives after the embedding layer and after each layer, and the last before its normalisation."""
    with in_double(dtype), torch.no_grad():
        same = type(model)(model.config).to(getattr(torch, dtype)).eval()
        same.load_state_dict(model.state_dict())
        last = []
        closing = getattr(same, "norm", None) or getattr(same, "ln_f", None)
        if closing is not None:
            closing.register_forward_pre_hook(lambda module, given: last.append(given[0][0].numpy()))
        states = same(input_ids=torch.as_tensor(np.asarray(ids))[None], output_hidden_states=True).hidden_states
    states = [state[0].numpy() for state in states]
    return states, last[0] if last else states[-1]


def word_pieces(folder, text=""):
    """A tokenizer of the words of a text, with [CLS] and [SEP] at the ends; if let, it cuts off and fills up."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(text.split()))]
    tokenizer = Tokenizer(models.WordPiece({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(folder / "tokenizer.json"))


def bytes_pairs(folder, tokens):
    """A tokenizer by bytes, as that of GPT-2, whose vocabulary is all bytes and some merged tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: k for k, token in enumerate([*letters, *tokens])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(token[:-1], token[-1]) for token in tokens]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
