"""Models: what a network is made of, as its config, card or paper states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import MissingFactError
from ..physics import transformer as equations
from ..units import Bytes, Count, Flop
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload(Spec):
    """Any model: its published size and the cost of one inference."""

    architecture: str
    parameters: Count | None = None
    active_parameters: Count | None = None
    release_year: Count | None = None
    layers: Count | None = None
    inference_flops: Flop | None = None
    multiply_adds: Count | None = None
    textbook_operations: Flop | None = None
    activations: Count | None = None
    input_resolution: Count | None = None
    training_flops: Flop | None = None
    training_tokens: Count | None = None
    weight_size: Bytes | None = None
    checkpoint_format: str | None = None

    def flops(self) -> Any:
        """FLOPs of one inference, two per multiply-add [FLOP]; for language models, of one token."""
        inside = self.si
        if inside.inference_flops is not None:
            return inside.inference_flops
        if inside.multiply_adds is not None:
            return equations.multiply_add_flops(inside.multiply_adds)
        if inside.parameters is not None:
            return equations.linear_flops(inside.active_parameters or inside.parameters, 1.0)
        raise MissingFactError(f"{self.id}: neither FLOPs nor parameters of one inference are in the catalog")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transformer(Workload):
    """Decoder, encoder or both: dense, mixture of experts, latent attention, hybrid with linear attention or Mamba."""

    parameters: Count
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    vocab: Count
    ffn: Count | None = None
    mlp_matrices: Count = 3.0
    mlp_layers: Count | None = None
    tied_embeddings: bool = False
    embedding_dim: Count | None = None
    positions: Count | None = None
    max_context: Count | None = None
    bias: bool = False
    qkv_bias: bool = False
    norm_bias: bool = False
    qk_norm: bool = False
    attention_gate: bool = False
    experts: Count | None = None
    active_experts: Count | None = None
    expert_ffn: Count | None = None
    expert_hidden: Count | None = None
    shared_experts: Count | None = None
    shared_expert_ffn: Count | None = None
    first_dense_layers: Count | None = None
    moe_layers: Count | None = None
    q_lora_rank: Count | None = None
    kv_lora_rank: Count | None = None
    qk_nope_head_dim: Count | None = None
    qk_rope_head_dim: Count | None = None
    v_head_dim: Count | None = None
    o_lora_rank: Count | None = None
    o_groups: Count | None = None
    sliding_window: Count | None = None
    window_layers: Count | None = None
    window_heads: Count | None = None
    window_kv_heads: Count | None = None
    window_head_dim: Count | None = None
    compress_ratio: Count | None = None
    compressed_layers: Count | None = None
    heavy_compress_ratio: Count | None = None
    heavy_compressed_layers: Count | None = None
    attention_layers: Count | None = None
    linear_layers: Count | None = None
    linear_key_heads: Count | None = None
    linear_value_heads: Count | None = None
    linear_key_head_dim: Count | None = None
    linear_value_head_dim: Count | None = None
    conv_kernel: Count | None = None
    mamba_layers: Count | None = None
    ssm_state: Count | None = None
    ssm_heads: Count | None = None
    ssm_head_dim: Count | None = None
    ssm_groups: Count | None = None
    ssm_expand: Count | None = None
    dt_rank: Count | None = None
    index_layers: Count | None = None
    index_heads: Count | None = None
    index_head_dim: Count | None = None
    index_topk: Count | None = None
    mtp_layers: Count | None = None
    encoder_layers: Count | None = None
    decoder_layers: Count | None = None
    encoder_context: Count | None = None
    vision_parameters: Count | None = None

    @property
    def hidden_dim(self) -> Any:
        """Width of the residual stream, as :attr:`hidden`."""
        return self.hidden


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConvNet(Workload):
    """A convolutional (or other vision) network, known by its published cost and, if written out, its layers."""

    parameters: Count
    stages: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateSpace(Workload):
    """A Mamba-like model."""

    parameters: Count
    layers: Count
    hidden: Count
    ssm_state: Count
    vocab: Count | None = None
    ssm_expand: Count = 2.0
    conv_kernel: Count = 4.0
    dt_rank: Count | None = None
    ssm_heads: Count | None = None
    ssm_head_dim: Count | None = None
    ssm_groups: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Diffusion(Workload):
    """A denoiser (U-Net or DiT) run for many steps; its FLOPs are those of one step."""

    parameters: Count
    denoising_steps: Count
    resolution: Count | None = None
    latent_channels: Count | None = None
    text_encoder_parameters: Count | None = None
    vae_parameters: Count | None = None
    hidden: Count | None = None
    heads: Count | None = None
    stages: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recommender(Workload):
    """Embedding tables and dense towers."""

    embedding_tables: Count | None = None
    embedding_dim: Count | None = None
    embedding_rows: Count | None = None
    embedding_lookups: Count | None = None
    cross_layers: Count | None = None
    cross_rank: Count | None = None
    bottom_mlp: str | None = None
    top_mlp: str | None = None


CLASSES: dict[str, type[Workload]] = {
    "transformer": Transformer,
    "encoder": Transformer,
    "encoder_decoder": Transformer,
    "cnn": ConvNet,
    "mlp": ConvNet,
    "vision": ConvNet,
    "speech": ConvNet,
    "ssm": StateSpace,
    "diffusion": Diffusion,
    "dlrm": Recommender,
}
