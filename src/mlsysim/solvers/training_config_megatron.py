"""Read a Megatron-LM argument list, and the YAML of NeMo and Megatron-Bridge, whose keys are its flags by other names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..catalog import Defaults
from ..errors import InvalidPlanError, alternatives
from . import training_config_shell as shell
from .plan_rules import near_divisors
from .training_config_flags import Flags, Given, Job, flattened
from .training_config_model import described

OPTIMIZERS = {"adam": "adam", "adamw": "adamw", "sgd": "momentum", "muon": "muon", "dist_muon": "muon",
              "fused_adam": "adam", "distributed_fused_adam": "adam", "megatron_fused_adam": "adam",
              "mcore_distributed_optim": "adam", "adafactor": "adafactor"}  # fmt: skip
ARGUMENTS = {"seq_len": "seq-length", "batch_size": "global-batch-size", "microbatch_size": "micro-batch-size"}
SHARDED = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}
RECOMPUTED = {"none": "none", "null": "none", "selective": "selective", "full": "full"}
PRECISIONS = {"16": "fp16", "16-mixed": "fp16", "fp16": "fp16", "bf16": "bf16", "bf16-mixed": "bf16", "bf16_mixed": "bf16",
              "16_mixed": "fp16", "fp16_mixed": "fp16", "32": "fp32", "32-true": "fp32", "fp32": "fp32",
              "bf16_with_fp8_mixed": "fp8", "bf16_with_fp8_delayed_scaling_mixed": "fp8",
              "bf16_with_fp8_current_scaling_mixed": "fp8", "bf16_with_mxfp8_mixed": "mxfp8",
              "bf16_with_nvfp4_mixed": "nvfp4"}  # fmt: skip
HARMLESS = re.compile(
    r"^(?:min-)?lr\b|lr-|weight-decay|adam-|clip-grad|init-method|seed$|log|^(?:no-)?(?:save|load)|^eval|eval-|data-|split"
    r"|tensorboard|wandb|tokenizer|vocab|merge-file|checkpoint|ckpt|^exit-|master-|node-rank|rdzv|timing|num-workers"
    r"|^reset-|eod-mask|loss-scale|hysteresis|epsilon|rotary-(?:base|percent)|^rope|override-opt|use-checkpoint|^profile"
    r"|manual-gc|timeout|^mock-data|decay-|warmup|sgd-momentum|distributed-backend|^standalone|^use-mcore-models"
    r"|^(?:job-name|partition|account|time|output|error|mem|exclusive|container|ntasks|cpus-per|nodelist|mpi|wait|kill)"
    r"|^transformer-impl|attention-softmax-in-fp32|^no-(?:masked|bias)|^tee$|^role$|^redirects$|local-rank|moe-aux-loss"
    r"|^decoupled-|^tiktoken|^no-create-att|mmap|^empty-unused|per-token-loss|layernorm-1p|^(?:create|dataloader)-"
    r"|^name$|^restore-from|^trainer\.(?:accel|logger|max-epochs|val-|limit-|benchmark|strategy|num-sanity|accumulate|use-dist)"
    r"|^exp-manager|^(?:pre|post)-process|native-amp|onnx-safe|apex-|use-cpu-init|nsys-profile|\.data\.|^optim(?:izer)?\."
    r"|(?:model|optim|optimizer|scheduler)\.(?:sched|lr|betas|weight)|^(?:scheduler|rng|checkpoint|logger|dist|profiling)\."
    r"|^resume|^grad-div-ar|persist-layer-norm|gradient-as-bucket|^model\.optim\.|^target$"
    r"|moe-router-(?:load|pre|group|num-groups|score|bias|enable|dtype|topk-scaling)|^fp8-(?:amax|margin|interval)"
)
"""Flags that change neither the time of a step nor its memory by a part that is modelled."""


def from_words(words: Sequence[str], label: str, given: Given) -> tuple[Flags, Job]:
    """Flags and job of a list of arguments."""
    return _job(Flags(label, shell.paired(words)), given)


def from_script(text: str, label: str, given: Given) -> tuple[Flags, Job]:
    """Flags and job of a shell script or a text of arguments."""
    script = shell.Script(text, label)
    data = shell.paired(script.words())
    for name, value in shell.paired(_longer(script.batch)).items():
        data.setdefault(name, value)
    if "WORLD_SIZE" in script.variables and script.variables["WORLD_SIZE"].isdigit():
        data.setdefault("world-size", script.variables["WORLD_SIZE"])
    flags, job = _job(Flags(label, data), given)
    job.remarks += script.remarks
    return flags, job


def _longer(words: Sequence[str]) -> list[str]:
    """Options of a batch system with their long names."""
    return [{"-N": "--nodes"}.get(word, word) for word in words]


def from_yaml(tree: Mapping[str, Any], label: str, given: Given) -> tuple[Flags, Job]:
    """Flags and job of the YAML of NeMo or Megatron-Bridge."""
    data: dict[str, Any] = {}
    names: dict[str, str] = {}
    open_ends = []
    for path, value in flattened(tree).items():
        if isinstance(value, str) and ("${" in value or value == "???"):
            open_ends.append(f"{path} = {value}")
            continue
        name, meant = _canonical(path, value)
        if name in data and meant is None:
            continue
        data[name], names[name] = meant, path
    flags, job = _job(Flags(label, data, names), given)
    job.stack = "nemo"
    job.ignored += [entry for entry in open_ends if not HARMLESS.search(_canonical(entry.split(" = ")[0], None)[0])]
    return flags, job


Meaning = tuple[str, Callable[[Any], Any]]


def _same(value: Any) -> Any:
    return value


def _no(value: Any) -> bool:
    return not value


def _gated(value: Any) -> bool:
    return value is True or "swiglu" in str(value).lower() or "geglu" in str(value).lower()


RENAMED: dict[str, Meaning] = {
    "devices": ("nproc-per-node", _same),
    "num_nodes": ("nnodes", _same),
    "max_steps": ("train-iters", _same),
    "encoder_seq_length": ("seq-length", _same),
    "sequence_length": ("seq-length", _same),
    "num_moe_experts": ("num-experts", _same),
    "moe_router_topk": ("moe-router-topk", _same),
    "activations_checkpoint_granularity": ("recompute-granularity", _same),
    "activations_checkpoint_method": ("recompute-method", _same),
    "activations_checkpoint_num_layers": ("recompute-num-layers", _same),
    "virtual_pipeline_model_parallel_size": ("num-virtual-stages-per-pipeline-rank", _same),
    "share_embeddings_and_output_weights": ("untie-embeddings-and-output-weights", _no),
    "add_bias_linear": ("disable-bias-linear", _no),
    "bias": ("disable-bias-linear", _no),
    "gated_linear_unit": ("swiglu", _gated),
    "activation": ("swiglu", _gated),
    "make_vocab_size_divisible_by": ("make-vocab-size-divisible-by", _same),
    "distributed_optimizer": ("use-distributed-optimizer", _same),
    "overlap_grad_sync": ("overlap-grad-reduce", _same),
}


def _canonical(path: str, value: Any) -> tuple[str, Any]:
    """The flag of Megatron-LM that a key stands for, and its value; the path itself where there is none."""
    section, _, key = path.rpartition(".")
    home = section.rpartition(".")[2]
    if key.startswith("--"):
        return key[2:].replace("_", "-"), value
    if ".peft." in f".{section}." and key in ("peft_scheme", "adapter_dim", "dim"):
        return "peft-scheme" if key == "peft_scheme" else "lora-rank", value
    if home == "tokenizer" and key in ("type", "tokenizer_type", "vocab_size"):
        return "vocab-size" if key == "vocab_size" else "tokenizer-type", value
    if home in ("optim", "optimizer") and key in ("name", "optimizer"):
        return "optimizer", value
    if path in ("trainer.precision", "mixed_precision", "model.precision"):
        return "mixed-precision", value
    if key in RENAMED and home in ("", "trainer", "model", "train", "dataset", "ddp", "optimizer", "optim", "data"):
        if home == "data" and key != "sequence_length":
            return path, value
        name, meaning = RENAMED[key]
        return name, None if value is None else meaning(value)
    if home in ("", "model", "train", "dataset", "ddp", "mixed_precision", "comm_overlap", "recipe") or (
        home == "optimizer" and key == "use_distributed_optimizer"
    ):
        return key.replace("_", "-"), value
    return path.replace("_", "-"), value


def _job(flags: Flags, given: Given) -> tuple[Flags, Job]:
    for name, value in given.over(ARGUMENTS).items():
        flags.data[name], flags.names[name] = value, f"{name} (passed)"
    job = Job(stack="megatron")
    job.tp = flags.count("tensor-model-parallel-size", "model-parallel-size", default=1)
    job.pp = flags.count("pipeline-model-parallel-size", default=1)
    job.cp = flags.count("context-parallel-size", default=1)
    job.ep = flags.count("expert-model-parallel-size", default=1)
    job.expert_tp = flags.count("expert-tensor-parallel-size")
    if job.expert_tp is None and job.ep > 1:
        job.expert_tp = job.tp
    job.micro = flags.count("micro-batch-size", "batch-size", default=1)
    job.batch = flags.count("global-batch-size")
    job.seq_len = flags.count("seq-length", "max-position-embeddings", default=0)
    if not job.seq_len:
        flags.problems.append(
            f"{flags.shown('seq-length')} is missing; name the tokens of a sequence, or pass seq_len="
        )
        job.seq_len = 1
    job.gpus = _gpus(flags, given.gpus is not None)
    job.steps, job.samples = flags.count("train-iters"), flags.count("train-samples")
    job.precision = _precision(flags)
    job.zero = _zero(flags)
    job.recompute = flags.choice(RECOMPUTED, "recompute-granularity", default="none")
    if job.recompute == "none" and flags.flag("recompute-activations"):
        job.recompute = "selective"
    if flags.word("recompute-method") == "block":
        job.ignored.append("recompute-method = block (all layers of a stage are recomputed here)")
    flags.count("recompute-num-layers")
    job.optimizer = flags.choice(OPTIMIZERS, "optimizer", default="adam")
    if flags.flag("optimizer-cpu-offload"):
        job.offload = "cpu"
    job.offload_layers = flags.count("cpu-offloading-num-layers")
    job.sequence_parallel = flags.flag("sequence-parallel")
    job.fused_attention = flags.word("attention-backend", default="auto") not in ("unfused", "local")
    flags.flag("use-flash-attn")
    job.overlap = flags.flag("overlap-grad-reduce")
    flags.flag("overlap-param-gather")
    if flags.get("rampup-batch-size") is not None:
        job.ignored.append("rampup-batch-size (every step has the full batch here)")
    if flags.count("mtp-num-layers", default=0, least=0):
        job.ignored.append("mtp-num-layers (layers that predict further tokens are not counted)")
    rank, scheme = flags.count("lora-rank"), flags.word("peft-scheme")
    if scheme == "lora" or (scheme is None and rank is not None):
        job.lora_rank = rank or int(Defaults["Training"].si.adapter_rank)
    elif scheme not in (None, "none"):
        job.ignored.append(f"{flags.shown('peft-scheme')} = {scheme} (everything is trained here)")
    layers = flags.count("num-layers")
    if given.model is None:
        name = f"GPT of {layers or 0} layers x {flags.count('hidden-size') or 0}"
        job.model, remarks = described(flags, job.tp, given.vocab, name)
        job.remarks += remarks
    else:
        flags.close()
        job.model = given.model
        layers = layers or int(given.model.si.layers or 1)
        described_by = [
            name for name in ("hidden-size", "num-attention-heads", "ffn-hidden-size") if name in flags.data
        ]
        if described_by:
            job.remarks.append("the sizes in the file are not used: a model was passed")
            for name in (*described_by, *SIZES):
                flags.get(name)
    job.chunks = _chunks(flags, job.pp, layers or 1)
    flags.close()
    return flags, job


SIZES = ("num-query-groups", "group-query-attention", "kv-channels", "swiglu", "untie-embeddings-and-output-weights",
         "disable-bias-linear", "normalization", "max-position-embeddings", "position-embedding-type", "num-experts",
         "moe-router-topk", "moe-ffn-hidden-size", "moe-layer-freq", "multi-latent-attention", "q-lora-rank", "kv-lora-rank",
         "qk-head-dim", "qk-pos-emb-head-dim", "v-head-dim", "add-qkv-bias", "qk-layernorm", "window-size",
         "use-rotary-position-embeddings", "no-position-embedding", "moe-shared-expert-intermediate-size")  # fmt: skip


def _gpus(flags: Flags, passed: bool) -> int | None:
    """GPUs that a launcher or a batch system is asked for; None where only the environment knows."""
    names = ("nnodes", "nodes", "nproc-per-node", "gpus-per-node", "ntasks-per-node", "gres", "world-size")
    told = {name: value for name in names if (value := flags.get(name)) is not None}
    open_ends = [name for name, value in told.items() if "$" in str(value)]
    for name in open_ends:
        flags.data.pop(name)
    if passed:
        return None
    nodes = flags.count("nnodes", "nodes")
    each = flags.count("nproc-per-node", "gpus-per-node", "ntasks-per-node")
    found = re.search(r"gpu(?::\w+)?:(\d{1,3})$", str(told.get("gres", "")))
    if each is None and found is not None:
        each = int(found.group(1))
    whole: int | None = flags.count("world-size")
    if each is None or (nodes is None and any("nodes" in name for name in open_ends)):
        return whole
    return int(each) * int(nodes or 1)


def _precision(flags: Flags) -> str:
    found: str = flags.choice(PRECISIONS, "mixed-precision", default="fp32")
    if flags.flag("bf16"):
        found = "bf16"
    elif flags.flag("fp16"):
        found = "fp16"
    if flags.get("fp8-format") is not None or flags.flag("fp8", "fp8-hybrid", "fp8-e4m3"):
        found = "mxfp8" if flags.word("fp8-recipe") == "mxfp8" else "fp8"
    if flags.get("fp4-format") is not None or flags.flag("fp4"):
        found = "nvfp4"
    return found


def _zero(flags: Flags) -> int:
    stage = 1 if flags.flag("use-distributed-optimizer") else 0
    if flags.word("optimizer") in ("distributed_fused_adam", "mcore_distributed_optim"):
        stage = 1
    if flags.flag("use-torch-fsdp2"):
        return 3
    if flags.flag("use-megatron-fsdp", "use-custom-fsdp"):
        return int(flags.choice(SHARDED, "data-parallel-sharding-strategy", default=0))
    return stage


def _chunks(flags: Flags, pp: int, layers: int) -> int:
    """Model chunks of a stage, from their number or from the layers of one.

    Raises:
        InvalidPlanError: layers that do not divide
    """
    chunks = flags.count("num-virtual-stages-per-pipeline-rank")
    deep = flags.count("num-layers-per-virtual-pipeline-stage")
    if chunks is not None or deep is None:
        return chunks or 1
    if layers % (pp * deep):
        near = near_divisors(layers / pp, deep) if layers % pp == 0 else []
        hint = f"try {alternatives([str(n) for n in near])}" if near else f"{layers} layers do not divide {pp} stages"
        raise InvalidPlanError(
            f"{flags.label}: num-layers-per-virtual-pipeline-stage {deep}: {layers} layers over {pp} stages do not divide; {hint}"
        )
    return int(layers // (pp * deep))
