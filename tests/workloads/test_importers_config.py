"""Configs of Hugging Face: the architecture adds up to the published count, and faults are told by name."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Engine, Models, ServingModel, import_model
from mlsysim.errors import InvalidInputError, MLSysimError, UnsupportedWorkloadError
from mlsysim.workloads.importers import default_precision, families


def config(architecture, layers, hidden, heads, kv, ffn, vocab, **more):
    return {
        "architectures": [architecture], "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
        "num_key_value_heads": kv, "intermediate_size": ffn, "vocab_size": vocab, **more,
    }  # fmt: skip


def latent(q, kv=512, nope=128, rope=64, value=128):
    return {
        "q_lora_rank": q,
        "kv_lora_rank": kv,
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": value,
    }


def experts(number, active, ffn, **more):
    return {"num_experts_per_tok": active, "moe_intermediate_size": ffn, "n_routed_experts": number, **more}


LLAMA = config("LlamaForCausalLM", 32, 4096, 32, 8, 14336, 128256)
V3 = {**latent(1536), **experts(256, 8, 2048, n_shared_experts=1, first_k_dense_replace=3, topk_method="noaux_tc")}
LINEAR = {
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
}  # fmt: skip
WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"], "max_source_positions": 1500, "max_target_positions": 448,
}  # fmt: skip


def halves(layers, width, heads, ffn, **more):
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in
             [("layers", layers), ("attention_heads", heads), ("ffn_dim", ffn)]}  # fmt: skip
    return {"d_model": width, **sides, **more}


EXACT = [
    # counts that the files themselves have, as the hub or the makers print them; sources: catalog entry of that name
    ("Llama3_8B", LLAMA, 8_030_261_248),
    ("GPT2", {"architectures": ["GPT2LMHeadModel"], "n_embd": 1600, "n_head": 25, "n_layer": 48, "n_positions": 1024,
              "vocab_size": 50257}, 1_557_611_200),
    ("Mixtral_8x7B", config("MixtralForCausalLM", 32, 4096, 32, 8, 14336, 32000, num_local_experts=8,
                            num_experts_per_tok=2), 46_702_792_704),
    ("Qwen2_5_7B", config("Qwen2ForCausalLM", 28, 3584, 28, 4, 18944, 152064, sliding_window=131072,
                          use_sliding_window=False, tie_word_embeddings=False), 7_615_616_512),
    ("Qwen3_8B", config("Qwen3ForCausalLM", 36, 4096, 32, 8, 12288, 151936, head_dim=128), 8_190_735_360),
    ("Qwen3_30B_A3B", config("Qwen3MoeForCausalLM", 48, 2048, 32, 4, 6144, 151936, head_dim=128, num_experts=128,
                             num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1), 30_532_122_624),
    ("Gemma_7B", config("GemmaForCausalLM", 28, 3072, 16, 16, 24576, 256000, head_dim=256), 8_537_680_896),
    ("Gemma_2_9B", config("Gemma2ForCausalLM", 42, 3584, 16, 8, 14336, 256000, head_dim=256, sliding_window=4096,
                          max_position_embeddings=8192), 9_241_705_984),
    ("Gemma_3_1B", config("Gemma3ForCausalLM", 26, 1152, 4, 1, 6912, 262144, head_dim=256, sliding_window=512,
                          sliding_window_pattern=6, max_position_embeddings=32768), 999_885_952),
    ("Phi_2", config("PhiForCausalLM", 32, 2560, 32, 32, 10240, 51200), 2_779_683_840),
    ("Phi_3_Mini", config("Phi3ForCausalLM", 32, 3072, 32, 32, 8192, 32064), 3_821_079_552),
    ("GPT_NeoX_20B", config("GPTNeoXForCausalLM", 44, 6144, 64, None, 24576, 50432), 20_554_567_680),
    ("OPT_350M", {"architectures": ["OPTForCausalLM"], "num_hidden_layers": 24, "hidden_size": 1024, "ffn_dim": 4096,
                  "num_attention_heads": 16, "vocab_size": 50272, "max_position_embeddings": 2048,
                  "word_embed_proj_dim": 512, "do_layer_norm_before": False}, 331_196_416),
    ("BLOOM_7B1", {"architectures": ["BloomForCausalLM"], "hidden_size": 4096, "n_head": 32, "n_layer": 30,
                   "vocab_size": 250880}, 7_069_016_064),
    ("Falcon_7B", config("FalconForCausalLM", 32, 4544, 71, None, None, 65024, multi_query=True, parallel_attn=True,
                         new_decoder_architecture=False, bias=False), 6_921_720_704),
    ("Falcon_40B", {"architectures": ["RWForCausalLM"], "hidden_size": 8192, "n_head": 128, "n_head_kv": 8,
                    "n_layer": 60, "vocab_size": 65024, "new_decoder_architecture": True, "bias": False}, 41_303_293_952),
    ("DeepSeek_V2_Lite", config("DeepseekV2ForCausalLM", 27, 2048, 16, 16, 10944, 102400, **latent(None),
                                **experts(64, 6, 1408, n_shared_experts=2, first_k_dense_replace=1,
                                          topk_method="greedy")), 15_706_484_224),
    ("GPT_OSS_20B", config("GptOssForCausalLM", 24, 2880, 64, 8, 2880, 201088, head_dim=64, num_local_experts=32,
                           num_experts_per_tok=4, sliding_window=128, max_position_embeddings=131072,
                           layer_types=["sliding_attention", "full_attention"] * 12,
                           quantization_config={"quant_method": "mxfp4"}), 20_914_757_184),
    ("OLMo_2_7B", config("Olmo2ForCausalLM", 32, 4096, 32, 32, 11008, 100352), 7_298_617_344),
    ("Command_R", config("CohereForCausalLM", 40, 8192, 64, 64, 22528, 256000), 34_980_831_232),
    ("StarCoder2_7B", config("Starcoder2ForCausalLM", 32, 4608, 36, 4, 18432, 49152, use_bias=True), 7_173_923_840),
    ("Jamba_v0_1", config("JambaForCausalLM", 32, 4096, 32, 8, 14336, 65536, num_experts=16, num_experts_per_tok=2,
                          attn_layer_period=8, attn_layer_offset=4, expert_layer_period=2, expert_layer_offset=1,
                          mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=256), 51_570_323_328),
    ("Nemotron_3_Nano_30B_A3B", config(
        "NemotronHForCausalLM", 52, 2688, 32, 2, 1856, 131072, head_dim=128, n_shared_experts=1,
        moe_shared_expert_intermediate_size=3712, mamba_num_heads=64, mamba_head_dim=64, n_groups=8, ssm_state_size=128,
        hybrid_override_pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", **experts(128, 6, 1856),
    ), 31_577_937_344),
    ("MiniMax_M2", config("MiniMaxM2ForCausalLM", 62, 3072, 48, 8, 1536, 200064, head_dim=128, num_local_experts=256,
                          num_experts_per_tok=8, use_qk_norm=True, qk_norm_type="per_layer"), 228_689_764_864),
    ("Falcon_Mamba_7B", {"architectures": ["FalconMambaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 64,
                         "state_size": 16, "intermediate_size": 8192, "time_step_rank": 256, "vocab_size": 65024},
     7_272_665_088),
    ("Mamba_130M", {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {}, "pad_vocab_size_multiple": 8},
     129_135_360),
    ("T5_Base", {"architectures": ["T5ForConditionalGeneration"], "d_model": 768, "d_kv": 64, "d_ff": 3072,
                 "num_heads": 12, "num_layers": 12, "vocab_size": 32128}, 222_903_552),
    ("Flan_T5_Base", {"architectures": ["T5ForConditionalGeneration"], "d_model": 768, "d_kv": 64, "d_ff": 2048,
                      "num_heads": 12, "num_layers": 12, "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
                      "tie_word_embeddings": False}, 247_577_856),
]  # fmt: skip

PUBLISHED = [
    # counts that are rounded, or that leave out what a note of the catalog entry names
    ("DeepSeek_V3", config("DeepseekV3ForCausalLM", 61, 7168, 128, 128, 18432, 129280, **V3), 0.001),
    ("DeepSeek_V3_2", config("DeepseekV32ForCausalLM", 61, 7168, 128, 128, 18432, 129280, **V3, index_n_heads=64,
                             index_head_dim=128, index_topk=2048), 0.002),
    ("Kimi_K2", config("DeepseekV3ForCausalLM", 61, 7168, 64, 64, 18432, 163840, **latent(1536),
                       **experts(384, 8, 2048, n_shared_experts=1, first_k_dense_replace=1)), 0.03),
    ("GLM_5", config("GlmMoeDsaForCausalLM", 78, 6144, 64, 64, 12288, 154880, **latent(2048, nope=192, value=256),
                     **experts(256, 8, 2048, n_shared_experts=1, first_k_dense_replace=3), index_n_heads=32,
                     index_head_dim=128, index_topk=2048), 0.01),
    ("DeepSeek_V4_Flash", config(
        "DeepseekV4ForCausalLM", 43, 4096, 64, 1, None, 129280, head_dim=512, q_lora_rank=1024, o_lora_rank=1024,
        o_groups=8, index_n_heads=64, index_head_dim=128, index_topk=512, sliding_window=128, expert_dtype="fp4",
        max_position_embeddings=1048576, compress_ratios=[0, 0, *[4, 128] * 20, 4],
        **experts(256, 6, 2048, n_shared_experts=1)), 0.01),
    ("Llama4_Scout", {
        "architectures": ["Llama4ForConditionalGeneration"],
        "text_config": config("", 48, 5120, 40, 8, 8192, 202048, head_dim=128, num_local_experts=16,
                              num_experts_per_tok=1, interleave_moe_layer_step=1, intermediate_size_mlp=16384,
                              attention_chunk_size=8192, max_position_embeddings=10485760),
        "vision_config": {"hidden_size": 1408, "intermediate_size": 5632, "num_hidden_layers": 34, "patch_size": 14,
                          "image_size": 336}}, 0.001),
    ("Llama4_Maverick", {
        "architectures": ["Llama4ForConditionalGeneration"],
        "text_config": config("", 48, 5120, 40, 8, 8192, 202048, head_dim=128, num_local_experts=128,
                              num_experts_per_tok=1, interleave_moe_layer_step=2, intermediate_size_mlp=16384,
                              attention_chunk_size=8192, max_position_embeddings=1048576)}, 0.01),
    ("Qwen3_Next_80B_A3B", config(
        "Qwen3NextForCausalLM", 48, 2048, 16, 2, 5120, 151936, head_dim=256, num_experts=512, num_experts_per_tok=10,
        moe_intermediate_size=512, shared_expert_intermediate_size=512, **LINEAR), 0.005),
    ("Qwen3_5_35B_A3B", {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "text_config": {**config("", 40, 2048, 16, 2, None, 248320, head_dim=256, num_experts=256,
                                 num_experts_per_tok=8, moe_intermediate_size=512,
                                 shared_expert_intermediate_size=512), **LINEAR},
        "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 16,
                          "temporal_patch_size": 2, "num_position_embeddings": 2304, "spatial_merge_size": 2,
                          "out_hidden_size": 2048}}, 0.001),
    ("MiMo_V2_Flash", config(
        "MiMoV2FlashForCausalLM", 48, 4096, 64, 4, 16384, 152576, head_dim=192, v_head_dim=128, sliding_window=128,
        swa_num_key_value_heads=8, swa_head_dim=192, moe_layer_freq=[0] + [1] * 47,
        hybrid_layer_pattern=[0, *[1] * 39, *[0] * 8], **experts(256, 8, 2048)), 0.005),
    ("Step_3_7_Flash", config(
        "Step3p7FlashForCausalLM", 45, 4096, 64, 8, 11264, 128896, head_dim=128, num_experts=288,
        num_experts_per_tok=8, moe_intermediate_size=1280, share_expert_dim=1280, n_shared_experts=1,
        first_k_dense_replace=3, sliding_window=512, max_position_embeddings=65536,
        layer_types=(["full_attention"] + ["sliding_attention"] * 3) * 11 + ["full_attention"],
        attention_other_setting={"num_attention_heads": 96, "num_attention_groups": 8}), 0.001),
    ("Gemma_4_26B_A4B", {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "text_config": config(
            "", 30, 2816, 16, 8, 2112, 262144, head_dim=256, num_global_key_value_heads=2, global_head_dim=512,
            num_experts=128, top_k_experts=8, moe_intermediate_size=704, sliding_window=1024, enable_moe_block=True,
            attention_k_eq_v=True, max_position_embeddings=262144,
            layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 5),
        "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "patch_size": 16}},
     0.01),
    ("MiniMax_Text_01", config(
        "MiniMaxText01ForCausalLM", 80, 6144, 64, 8, 9216, 200064, head_dim=128, num_local_experts=32,
        num_experts_per_tok=2, attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1] * 10), 0.01),
    ("MiniMax_M3", config(
        "MiniMaxM3ForCausalLM", 60, 6144, 64, 4, 3072, 200064, head_dim=128, num_local_experts=128,
        num_experts_per_tok=4, n_shared_experts=1, dense_intermediate_size=12288, moe_layer_freq=[0] * 3 + [1] * 57,
        sparse_attention_config={"sparse_topk_blocks": 16, "sparse_block_size": 128, "sparse_index_dim": 128,
                                 "sparse_num_index_heads": 4, "sparse_attention_freq": [0] * 3 + [1] * 57}), 0.01),
    ("Kimi_K3", {
        "architectures": ["KimiK3ForConditionalGeneration"],
        "text_config": config(
            "", 93, 7168, 96, 96, 33792, 163840, **latent(1536), moe_intermediate_size=3072, num_experts=896,
            num_experts_per_token=16, num_shared_experts=2, first_k_dense_replace=1, moe_latent_size=3584,
            attention_gate=True, linear_attn_config={
                "kda_layers": [i for i in range(93) if i % 4 != 3 and i < 92], "num_heads": 96, "head_dim": 128,
                "full_attn_layers": [*range(3, 93, 4), 92], "short_conv_kernel_size": 4})}, 0.03),
    ("Qwen2_57B_A14B", config(
        "Qwen2MoeForCausalLM", 28, 3584, 28, 4, 18944, 151936, num_experts=64, num_experts_per_tok=8,
        moe_intermediate_size=2560, shared_expert_intermediate_size=20480, decoder_sparse_step=1), 0.001),
    ("DBRX", {"architectures": ["DbrxForCausalLM"], "d_model": 6144, "n_heads": 48, "n_layers": 40, "vocab_size": 100352,
              "max_seq_len": 32768, "attn_config": {"kv_n_heads": 8},
              "ffn_config": {"moe_num_experts": 16, "moe_top_k": 4, "ffn_hidden_size": 10752}}, 0.01),
    ("BERT_Large", config("BertForMaskedLM", 24, 1024, 16, None, 4096, 30522, max_position_embeddings=512,
                          type_vocab_size=2), 0.02),
    ("Mamba2_130M", {"architectures": ["Mamba2ForCausalLM"], "hidden_size": 768, "num_hidden_layers": 24,
                     "vocab_size": 50288, "state_size": 128, "head_dim": 64, "n_groups": 1}, 0.001),
]  # fmt: skip

LISTED = [
    "DeciLMForCausalLM",
    "DeepseekV2ForCausalLM",
    "DeepseekV32ForCausalLM",
    "DeepseekV3ForCausalLM",
    "DeepseekV4ForCausalLM",
    "Gemma4ForConditionalGeneration",
    "GlmMoeDsaForCausalLM",
    "GptOssForCausalLM",
    "KimiK25ForConditionalGeneration",
    "KimiK3ForConditionalGeneration",
    "Llama4ForConditionalGeneration",
    "LlamaForCausalLM",
    "MiMoForCausalLM",
    "MiMoV2FlashForCausalLM",
    "MiniMaxM2ForCausalLM",
    "MiniMaxM3ForCausalLM",
    "MiniMaxM3SparseForConditionalGeneration",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "NemotronHForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration",
    "Step3p7FlashForCausalLM",
    "MPTForCausalLM",
]


@pytest.mark.parametrize(("name", "data", "count"), EXACT, ids=[row[0] for row in EXACT])
def test_a_config_adds_up_to_the_count_of_its_checkpoint(name, data, count):
    model = import_model(data, name=name)
    assert model.si.parameters == count
    assert Models[name].si.parameters == pytest.approx(count, rel=0.002)  # the catalog holds the source of the count


@pytest.mark.parametrize(("name", "data", "tolerance"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_a_config_adds_up_to_the_published_count(name, data, tolerance):
    assert import_model(data, name=name).si.parameters == pytest.approx(Models[name].si.parameters, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "data"), [row[:2] for row in EXACT + PUBLISHED], ids=[row[0] for row in EXACT + PUBLISHED]
)
def test_a_config_and_the_catalog_describe_the_same_shape(name, data):
    model, entry = import_model(data, name=name).si, Models[name].si
    fields = (
        "layers hidden heads kv_heads head_dim v_head_dim vocab tied_embeddings mlp_matrices experts active_experts "
        "expert_ffn shared_experts first_dense_layers q_lora_rank kv_lora_rank sliding_window window_layers window_heads "
        "window_kv_heads attention_layers linear_layers mamba_layers linear_value_heads ssm_state ssm_heads index_heads "
        "index_topk compress_ratio compressed_layers heavy_compressed_layers"
    )
    recurrent = not hasattr(model, "heads")
    for field in fields.split():
        ours, theirs = getattr(model, field, None), getattr(entry, field, None)
        if field == "window_kv_heads" and not recurrent:
            ours, theirs = ours or model.kv_heads, theirs or entry.kv_heads
        if field == "v_head_dim" and not recurrent:
            ours, theirs = ours or model.head_dim, theirs or entry.head_dim
        assert (ours or 0) == (theirs or 0), field


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        # counts of the hub's safetensors files
        ("bert-base-uncased", config("BertModel", 12, 768, 12, None, 3072, 30522, max_position_embeddings=512), 109_482_240),
        ("roberta-base", config("RobertaModel", 12, 768, 12, None, 3072, 50265, max_position_embeddings=514,
                                type_vocab_size=1), 124_645_632),
        ("distilbert", {"architectures": ["DistilBertModel"], "dim": 768, "hidden_dim": 3072, "n_heads": 12,
                        "n_layers": 6, "max_position_embeddings": 512, "vocab_size": 30522}, 66_362_880),
        ("bart-large", halves(12, 1024, 16, 4096, architectures=["BartForConditionalGeneration"], vocab_size=50265,
                              max_position_embeddings=1024), 406_291_456),
        ("whisper-tiny", {**WHISPER, **halves(4, 384, 6, 1536, num_mel_bins=80, vocab_size=51865)}, 37_760_640),
        ("whisper-large-v3", {**WHISPER, **halves(32, 1280, 20, 5120, num_mel_bins=128, vocab_size=51866)},
         1_543_490_560),
        ("mpt-7b", {"architectures": ["MPTForCausalLM"], "d_model": 4096, "n_heads": 32, "n_layers": 32,
                    "vocab_size": 50432, "max_seq_len": 2048, "attn_config": {"alibi": True}, "no_bias": True},
         6_649_286_656),
        ("gpt-j-6b", {"architectures": ["GPTJForCausalLM"], "n_embd": 4096, "n_head": 16, "n_layer": 28,
                      "n_positions": 2048, "vocab_size": 50400}, 6_050_882_784),
        ("glm-4-9b", {"architectures": ["ChatGLMModel"], "hidden_size": 4096, "ffn_hidden_size": 13696,
                      "num_attention_heads": 32, "num_layers": 40, "kv_channels": 128, "multi_query_attention": True,
                      "multi_query_group_num": 2, "padded_vocab_size": 151552, "add_qkv_bias": True,
                      "add_bias_linear": False}, 9_399_951_360),
        ("phi-3.5-moe", config("PhiMoEForCausalLM", 32, 4096, 32, 8, 6400, 32064, num_local_experts=16,
                               num_experts_per_tok=2, attention_bias=True, lm_head_bias=True), 41_873_153_344),
    ],
)  # fmt: skip
def test_further_families_add_up(name, data, count):
    assert import_model(data, name=name).si.parameters == count


def test_a_decilm_of_equal_blocks_is_a_llama():
    blocks = [{"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": 5.25}}] * 80
    pruned = [{"attention": {"n_heads_in_group": None, "no_op": True}, "ffn": {"ffn_mult": 5.25}}] * 31
    data = {"architectures": ["DeciLMForCausalLM"], "hidden_size": 8192, "num_attention_heads": 64, "vocab_size": 128256,
            "num_hidden_layers": 80}  # fmt: skip
    whole = import_model({**data, "block_configs": blocks}).si
    llama = import_model(config("LlamaForCausalLM", 80, 8192, 64, 8, 28672, 128256)).si
    assert (whole.parameters, whole.kv_heads) == (llama.parameters, 8)
    less = import_model({**data, "block_configs": blocks[:49] + pruned}).si
    assert less.attention_layers == 49
    assert whole.parameters - less.parameters == 31 * (2 * 8192 * 128 * (64 + 8) + 8192)


@pytest.mark.parametrize("architecture", LISTED)
def test_every_architecture_of_the_collected_facts_is_known(architecture):
    assert families.reader(architecture) is not None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "gptq", "bits": 4}, "int4"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}},
         "nvfp4"),
        ({"quant_method": "compressed-tensors", "config_groups": {
            "a": {"weights": {"num_bits": 8, "type": "float", "strategy": "block"}},
            "b": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}}, "nvfp4"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8, "type": "int"}}}}, "int8"),
    ],
)  # fmt: skip
def test_quantisation_sets_the_default_precision(section, expected):
    model = import_model({**LLAMA, "quantization_config": section}, name="Q")
    assert default_precision(model) == expected
    assert ServingModel().solve(model, "H100", 2048, precision=expected).feasible


def test_an_unquantised_or_unknown_checkpoint_has_no_default():
    assert default_precision(import_model({**LLAMA, "torch_dtype": "bfloat16"})) is None
    strange = import_model({**LLAMA, "quantization_config": {"quant_method": "secret"}})
    assert default_precision(strange) is None
    assert "secret" in strange.note


@pytest.mark.parametrize(
    ("architecture", "near"), [("Lama2ForCausalLM", "Llama"), ("MixtrallForCausalLM", "Mixtral"), ("Qwen9", "Qwen")]
)
def test_an_unknown_architecture_is_told_by_name_with_near_ones(architecture, near):
    with pytest.raises(UnsupportedWorkloadError, match=f"{architecture}.*{near}"):
        import_model({"architectures": [architecture], "hidden_size": 1})


def test_all_faults_of_a_config_are_told_at_once():
    bad = {**LLAMA, "hidden_size": -5, "num_hidden_layers": 2.5, "vocab_size": "many", "num_attention_heads": True}
    with pytest.raises(InvalidInputError) as caught:
        import_model(bad)
    assert all(
        key in str(caught.value) for key in ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads")
    )
    with pytest.raises(InvalidInputError, match="32 heads do not divide a width of 4097"):
        import_model({**LLAMA, "hidden_size": 4097})
    with pytest.raises(InvalidInputError, match="5 key-value heads do not divide 32 heads"):
        import_model({**LLAMA, "num_key_value_heads": 5})
    with pytest.raises(InvalidInputError, match="9 active of 8 experts"):
        import_model({**EXACT[2][1], "num_experts_per_tok": 9})


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"architectures": 5}', b"[" * 100_000, b'{"hidden_size": ' + b"9" * 5000 + b"}"],
)
def test_a_file_that_is_no_config_is_one_clear_line(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        import_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(row=st.sampled_from(EXACT + PUBLISHED), changes=st.dictionaries(st.integers(0, 30), ODD, min_size=1, max_size=3))
def test_damaged_configs_raise_nothing_but_our_own_errors(row, changes):
    data = json.loads(json.dumps(row[1]))
    inner = data.get("text_config", data)
    keys = [key for key in inner if key != "architectures"]
    for place, value in changes.items():
        inner[keys[place % len(keys)]] = value
    told, found = "", 1.0
    try:
        found = import_model(data, name="damaged").si.parameters
    except MLSysimError as fault:
        told = str(fault)
    assert "\n" not in told
    assert found > 0


@given(layers=st.integers(1, 64), more=st.integers(1, 32), ffn=st.integers(1, 20000), vocab=st.integers(1, 300000))
def test_parameters_grow_layer_by_layer(layers, more, ffn, vocab):
    def count(depth):
        return import_model(config("LlamaForCausalLM", depth, 512, 8, 4, ffn, vocab)).si.parameters

    one = 2 * 512 * 64 * (8 + 4) + 3 * 512 * ffn + 2 * 512
    assert count(layers + more) - count(layers) == more * one


def test_an_imported_model_answers_like_the_entry_of_the_catalog(tmp_path):
    folder = tmp_path / "My-Llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, "max_position_embeddings": 131072}))
    for source in (folder, str(folder), folder / "config.json"):
        model = import_model(source)
        assert (model.name, model.id) == ("My-Llama", "My_Llama")
        ours, theirs = Engine.solve(model, "H100", batch_size=8), Engine.solve("Llama3_8B", "H100", batch_size=8)
        assert ours.si.latency == theirs.si.latency
    assert "config.json" in model.source("layers").reason
