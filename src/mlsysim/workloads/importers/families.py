"""Architectures by the name that ``config.json`` gives them, and how each is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import decoders, encoders, gpt, latent
from .config import Config, Draft
from .decoders import dense, routed

Reader = Callable[[Config], Draft]

qwen2 = partial(dense, qkv_bias=True)
gemma2 = partial(dense, tied=True, norms_a_layer=4.0, window_every=2.0)
gemma3 = partial(dense, tied=True, qk_norm=True, norms_a_layer=4.0, window_every=6.0)
qwen3_moe = partial(routed, qk_norm=True)

PLAIN = (
    "Llama Mistral Mistral3 Ministral3 Yi Aquila InternLM InternLM2 InternLM3 Baichuan BaiChuan Phi3 Granite SmolLM3 "
    "Helium Llava LlavaNext"
)
"""Families that differ from Llama in nothing that counts."""

READERS: dict[str, Reader] = {
    # dense
    **dict.fromkeys(PLAIN.split(), dense),
    "Qwen": decoders.qwen1,
    **dict.fromkeys(["Qwen2", "Qwen2VL", "Qwen2_5_VL", "SeedOss", "MiMo", "InternVL", "InternVLChat"], qwen2),
    **dict.fromkeys(["Qwen3", "Qwen3VL", "HunYuanDenseV1"], partial(dense, qk_norm=True)),
    "Gemma": partial(dense, tied=True),
    "PaliGemma": partial(dense, tied=True),
    "Gemma2": gemma2,
    "Gemma3": gemma3,
    "Gemma4": decoders.gemma4,
    **dict.fromkeys(["Cohere", "Cohere2"], decoders.cohere),
    "StableLm": partial(dense, norm_bias=True),
    "Starcoder2": partial(dense, tied=True, bias=True, norm_bias=True, matrices=2.0),
    "Nemotron": partial(dense, norm_bias=True, matrices=2.0),
    "Arcee": partial(dense, matrices=2.0),
    "Olmo": decoders.olmo,
    **dict.fromkeys(["Olmo2", "Olmo3", "Olmoe"], decoders.olmo2),
    "Exaone4": partial(dense, qk_norm=True),
    "Glm": partial(dense, qkv_bias=True),
    "Glm4": partial(dense, qkv_bias=True, norms_a_layer=4.0),
    "ChatGLM": decoders.chatglm,
    "DeciLM": decoders.decilm,
    # in the line of GPT
    **dict.fromkeys(["GPT2", "GPTBigCode"], gpt.gpt2),
    "GPTNeo": gpt.gpt_neo,
    **dict.fromkeys(["GPTJ", "CodeGen"], gpt.gpt_j),
    "GPTNeoX": gpt.neox,
    "OPT": gpt.opt,
    "Bloom": gpt.bloom,
    **dict.fromkeys(["Falcon", "RW"], gpt.falcon),
    **dict.fromkeys(["MPT", "Mpt"], gpt.mpt),
    "Phi": gpt.phi,
    # mixtures of experts
    **dict.fromkeys(["Mixtral", "GraniteMoe"], routed),
    "Qwen2Moe": partial(routed, qkv_bias=True, shared_gate=True),
    **dict.fromkeys(["Qwen3Moe", "Qwen3VLMoe"], qwen3_moe),
    **dict.fromkeys(["Glm4Moe", "Dots1", "BailingMoeV2"], partial(routed, correction=True)),
    "Deepseek": routed,
    "PhiMoE": gpt.phi_moe,
    "Phimoe": gpt.phi_moe,
    "Dbrx": decoders.dbrx,
    "Grok1": gpt.grok,
    "GptOss": decoders.gpt_oss,
    **dict.fromkeys(["MiniMaxM2", "MiniMaxM3", "MiniMaxM3Sparse"], decoders.minimax_m2),
    "Llama4": decoders.llama4,
    "MiMoV2Flash": decoders.mimo_v2,
    **dict.fromkeys(["Step3p5", "Step3p5Flash", "Step3p7", "Step3p7Flash"], decoders.step3),
    # latent attention, linear attention, Mamba beside attention
    **dict.fromkeys(["DeepseekV2", "DeepseekV3", "DeepseekV32", "KimiK2", "KimiK25", "GlmMoeDsa", "Glm4MoeLite"], latent.deepseek),
    "DeepseekV4": latent.deepseek_v4,
    **dict.fromkeys(["KimiLinear", "KimiK3"], latent.kimi_linear),
    **dict.fromkeys(["Qwen3Next", "Qwen3_5", "Qwen3_5Moe"], latent.qwen_next),
    **dict.fromkeys(["MiniMax", "MiniMaxText01", "MiniMaxM1"], latent.minimax_text),
    "NemotronH": latent.nemotron_h,
    "Jamba": latent.jamba,
    # encoders, encoder-decoders, state-space models
    "Bert": encoders.bert,
    "Electra": partial(encoders.bert, pooler=False),
    "DistilBert": partial(encoders.bert, pooler=False, segments=0.0),
    **dict.fromkeys(["Roberta", "XLMRoberta", "Camembert"], partial(encoders.bert, segments=1.0)),
    **dict.fromkeys(["T5", "LongT5"], encoders.t5),
    **dict.fromkeys(["MT5", "UMT5"], partial(encoders.t5, tied=False)),
    **dict.fromkeys(["Bart", "MBart"], encoders.bart),
    "Whisper": encoders.bart,
    "Mamba": encoders.mamba,
    "FalconMamba": partial(encoders.mamba, tied=False),
    "Mamba2": encoders.mamba2,
}  # fmt: skip
"""Readers by the stem of an architecture: ``Llama`` stands for LlamaForCausalLM, LlamaModel and so on."""

ENDINGS = (
    "ForConditionalGeneration", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForSeq2SeqLM", "WithLMHeadModel", "ForPreTraining", "ForCausalLM", "ForMaskedLM", "ModelForCausalLM", "LMHeadModel",
    "EncoderModel", "ForTextGeneration", "TextModel", "LMHead", "Model",
)  # fmt: skip


def stem(architecture: str) -> str:
    """The family in the name of an architecture.

    Examples:
        >>> stem("Qwen3MoeForCausalLM"), stem("GPT2LMHeadModel"), stem("Gemma3ForConditionalGeneration")
        ('Qwen3Moe', 'GPT2', 'Gemma3')
    """
    for ending in ENDINGS:
        if architecture.endswith(ending) and len(architecture) > len(ending):
            return architecture.removesuffix(ending)
    return architecture


def reader(architecture: str) -> Reader | None:
    """How an architecture is read; None if it is not known."""
    return READERS.get(stem(architecture))
