"""Read the JSON of DeepSpeed and the TOML of torchtitan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..catalog import Models
from ..errors import InvalidInputError, InvalidPlanError, UnknownEntryError, alternatives, nearest
from .training_config_flags import Flags, Given, Job, dealt, flattened

DEEPSPEED = {"batch_size": "train_batch_size", "microbatch_size": "train_micro_batch_size_per_gpu"}
OPTIMIZERS = {"adam": "adam", "adamw": "adamw", "fusedadam": "adam", "cpuadam": "adam", "sgd": "momentum", "muon": "muon",
              "adafactor": "adafactor", "adamw8bit": "adamw8bit"}  # fmt: skip
HARMLESS_JSON = re.compile(
    r"^scheduler\.|^optimizer\.params\.|^gradient_clipping|^steps_per_print|^wall_clock|^dump_state|^tensorboard|^wandb"
    r"|^csv_monitor|^comet|^flops_profiler|^monitor|^checkpoint\.|^elasticity|^autotuning|^curriculum|^data_efficiency"
    r"|^(?:fp16|bf16)\.(?:loss|initial|hysteresis|min_loss|auto_cast|consecutive)|pin_memory|^zero_allow|^prescale"
    r"|^zero_force|round_robin|ignore_unused|gather_16bit|^seed|^comms_logger|bucket_size|contiguous_gradients"
    r"|allgather_partitions|reduce_scatter|sub_group_size|stage3_|nvme_path|buffer_(?:count|size)|^aio\.|^compression"
)
FLAVORS: dict[str, dict[str, str]] = {
    "llama3": {"1B": "Llama3_2_1B", "3B": "Llama3_2_3B", "8B": "Llama3_8B", "70B": "Llama3_70B", "405B": "Llama3_405B"},
    "deepseek_v3": {"16B": "DeepSeek_V2_Lite", "236B": "DeepSeek_V2", "671B": "DeepSeek_V3"},
    "qwen3": {"0.6B": "Qwen3_0_6B", "1.7B": "Qwen3_1_7B", "4B": "Qwen3_4B", "8B": "Qwen3_8B", "14B": "Qwen3_14B",
              "32B": "Qwen3_32B", "30B-A3B": "Qwen3_30B_A3B", "235B-A22B": "Qwen3_235B_A22B"},
    "llama4": {"17bx16e": "Llama4_Scout", "17bx128e": "Llama4_Maverick"},
    "gpt_oss": {"20b": "GPT_OSS_20B", "120b": "GPT_OSS_120B"},
}  # fmt: skip
"""Entries of the catalog with the sizes of torchtitan's flavors."""
SCHEDULES = {"1f1b": ("1f1b", 1), "gpipe": ("gpipe", 1), "interleaved1f1b": ("interleaved", 2),
             "interleavedzerobubble": ("zero-bubble", 1), "zbvzerobubble": ("zero-bubble", 1),
             "dualpipev": ("dualpipe", 1)}  # fmt: skip
"""Schedules, and how many model chunks a rank has where the file does not say."""
HARMLESS_TOML = re.compile(
    r"^(?:job|profiling|metrics|lr_scheduler|checkpoint|validation|comm|memory_estimation|experimental|debug)\."
    r"|^model\.(?:tokenizer|hf_assets|print)|^optimizer\.(?:lr|eps|beta|weight_decay|implementation)"
    r"|^training\.(?:dataset|data|max_norm|gc_|seed|warmup|debug)|^compile\.(?:components|backend)|^fault_tolerance\.enable$"
    r"|filter_fqns|precompute_float8|selective_ac_option|early_stop|per_op_sac|^float8\.(?:recipe|force|enable_fsdp)"
)


def from_json(tree: Mapping[str, Any], label: str, given: Given) -> tuple[Flags, Job]:
    """Flags and job of a DeepSpeed configuration.

    Raises:
        InvalidInputError: no model, no length of a sequence, or values that make no sense
    """
    flags = Flags(label, {**flattened(tree), **given.over(DEEPSPEED)})
    if given.model is None:
        flags.problems.append("a DeepSpeed configuration names no model; pass model=")
    if given.seq_len is None:
        flags.problems.append("a DeepSpeed configuration names no length of a sequence; pass seq_len=")
    job = Job(model=given.model, seq_len=given.seq_len or 1, stack="deepspeed")
    job.tp = flags.count("tensor_parallel.autotp_size", default=1, least=0) or 1
    job.cp = flags.count("sequence_parallel_size", default=1)
    if job.cp > 1:
        job.remarks.append("sequence-parallel ranks are taken as context-parallel ranks")
    job.zero = flags.count("zero_optimization.stage", default=0, least=0)
    if job.zero > 3:
        flags.problems.append(f"zero_optimization.stage: expected 0, 1, 2 or 3, found {job.zero}")
        job.zero = 3
    job.overlap = flags.flag("zero_optimization.overlap_comm", default=job.zero == 3)
    places = {"offload_optimizer": "none", "offload_param": "none"}
    for part in places:
        place = flags.word(f"zero_optimization.{part}.device", default="none")
        if place in ("cpu", "nvme") and (part == "offload_optimizer" or job.zero == 3):
            places[part] = str(place)
        elif place not in ("none", None):
            job.ignored.append(f"zero_optimization.{part}.device = {place} (kept on the GPU here)")
    job.offload, job.offload_param = places["offload_optimizer"], places["offload_param"]
    job.shard_group = flags.count("zero_optimization.zero_hpz_partition_size")
    if job.shard_group == 1:
        job.shard_group = None
    half, brain = flags.flag("fp16.enabled"), flags.flag("bf16.enabled", "bfloat16.enabled")
    if half and brain:
        flags.problems.append("fp16.enabled and bf16.enabled are both true; choose one")
    job.precision = "bf16" if brain else "fp16" if half else "fp32"
    if any(flags.word(name) == "auto" for name in ("fp16.enabled", "bf16.enabled") if name in flags.data) and not (
        half or brain
    ):
        job.precision = "bf16"
        job.remarks.append("the precision is left to the launcher (auto); bf16 is taken")
    saving = [name for name in flags.data if name.startswith("activation_checkpointing.")]
    if any(flags.get(name) not in (None, False) for name in saving):
        job.recompute = "full"
        job.remarks.append(
            "activation_checkpointing is set: whole layers are recomputed, if the code of the model asks for it"
        )
        if flags.flag("activation_checkpointing.cpu_checkpointing"):
            job.ignored.append("activation_checkpointing.cpu_checkpointing (kept on the GPU here)")
    job.optimizer = flags.choice(OPTIMIZERS, "optimizer.type", default="adam")
    if "optimizer.type" not in flags.data:
        job.remarks.append("no optimizer is named; Adam is taken")
    _deepspeed_batches(flags, job, given)
    flags.close()
    return flags, job


def _deepspeed_batches(flags: Flags, job: Job, given: Given) -> None:
    """Two of batch, micro-batch and accumulation give the third, as the documentation of DeepSpeed says."""
    batch = flags.count("train_batch_size")
    micro = flags.count("train_micro_batch_size_per_gpu")
    turns = flags.count("gradient_accumulation_steps")
    if batch is None and micro is None:
        flags.problems.append("train_batch_size and train_micro_batch_size_per_gpu are not told; pass microbatch_size=")
        return
    if micro is None and batch is not None and given.gpus:
        data = max(given.gpus // (job.tp * job.cp), 1)
        share = data * (turns or 1)
        if batch % share:
            near = [n for n in (batch // share * share, (batch // share + 1) * share) if n]
            raise InvalidPlanError(
                f"{flags.label}: train_batch_size {batch} does not divide over {data} data-parallel ranks x {turns or 1} "
                f"accumulation steps; nearby: {alternatives([str(n) for n in near])}"
            )
        micro = batch // share
    job.batch, job.micro, job.accumulation = batch, micro or 1, turns


def from_toml(tree: Mapping[str, Any], label: str, given: Given) -> tuple[Flags, Job]:
    """Flags and job of a torchtitan configuration.

    Raises:
        InvalidInputError: values that make no sense
        InvalidPlanError: ranks or batches that contradict each other
        UnknownEntryError: no such model or flavor
    """
    passed = {"seq_len": "training.seq_len", "batch_size": "training.global_batch_size",
              "microbatch_size": "training.local_batch_size"}  # fmt: skip
    flags = Flags(label, {**flattened(tree), **given.over(passed)})
    job = Job(stack="fsdp", overlap=True)
    job.model = _flavor(flags) if given.model is None else given.model
    if given.model is not None:
        flags.word("model.name"), flags.word("model.flavor")
    job.tp = flags.count("parallelism.tensor_parallel_degree", "training.tensor_parallel_degree", default=1)
    job.pp = flags.count("parallelism.pipeline_parallel_degree", "experimental.pipeline_parallel_degree", default=1)
    job.cp = flags.count("parallelism.context_parallel_degree", "experimental.context_parallel_degree", default=1)
    job.ep = flags.count("parallelism.expert_parallel_degree", default=1)
    if job.ep > 1:
        job.expert_tp = flags.count("parallelism.expert_tensor_parallel_degree", default=1)
    _sharding(flags, job, given)
    _schedule(flags, job)
    job.seq_len = _default(flags, job, 2048, "training.seq_len")
    local = _default(flags, job, 8, "training.local_batch_size", "training.batch_size")
    job.batch = flags.count("training.global_batch_size")
    job.steps = flags.count("training.steps")
    job.micro, job.passes = local, None
    if job.pp > 1:
        micro = flags.count("parallelism.pipeline_parallel_microbatch_size", default=1)
        if local % micro:
            near = [n for n in (local // micro * micro, (local // micro + 1) * micro) if n]
            raise InvalidPlanError(
                f"{label}: local_batch_size {local} does not divide into micro-batches of {micro}; "
                f"nearby: {alternatives([str(n) for n in near])}"
            )
        job.micro = micro
        if job.batch is None:
            job.passes = local // micro
        else:
            _, data, batch, _ = dealt(label, job, given.gpus)
            if batch % (local * data):
                low = batch // (local * data) * local * data
                near = [n for n in (low, low + local * data) if n]
                raise InvalidPlanError(
                    f"{label}: global_batch_size {batch} does not divide over {data} data-parallel ranks x a local batch of "
                    f"{local}; nearby: {alternatives([str(n) for n in near])}"
                )
            if batch > local * data:
                job.remarks.append("the pipeline drains once a local batch; here once a global batch")
    _arithmetic(flags, job)
    flags.close()
    return flags, job


def _default(flags: Flags, job: Job, value: int, *names: str) -> int:
    found = flags.count(*names)
    if found is None:
        job.remarks.append(f"{names[0]} is not told; {value} is the default of torchtitan")
        return value
    return int(found)


def _flavor(flags: Flags) -> Any:
    name, flavor = flags.get("model.name"), flags.get("model.flavor")
    if name is None or flavor is None:
        flags.problems.append("model.name and model.flavor are not told; name them, or pass model=")
        return None
    known = FLAVORS.get(str(name).lower())
    if known is None:
        raise UnknownEntryError("torchtitan model", name, nearest(name, FLAVORS) or list(FLAVORS))
    plain = {key.lower(): entry for key, entry in known.items()}
    if str(flavor).lower() not in plain:
        raise UnknownEntryError(f"flavor of {name}", flavor, nearest(flavor, known) or list(known))
    return Models[plain[str(flavor).lower()]]


def _sharding(flags: Flags, job: Job, given: Given) -> None:
    copies = flags.count(
        "parallelism.data_parallel_replicate_degree", "training.data_parallel_replicate_degree", default=1
    )
    shards = flags.count("parallelism.data_parallel_shard_degree", "training.data_parallel_shard_degree")
    parts = job.tp * job.pp * job.cp * copies
    if shards is not None:
        job.gpus = parts * shards
        if given.gpus is not None and given.gpus != job.gpus:
            raise InvalidPlanError(
                f"{flags.label}: its degrees multiply to {job.gpus} GPUs, not the {given.gpus} passed; "
                f"pass gpus={job.gpus} or set data_parallel_shard_degree = -1"
            )
    elif given.gpus is not None:
        shards = max(given.gpus // parts, 1)
    policy = flags.word("parallelism.fsdp_reshard_after_forward", default="default")
    job.zero = 0
    if shards is None or shards > 1 or job.cp > 1:
        job.zero = 2 if policy == "never" or (policy == "default" and job.pp > 1) else 3
    if job.zero == 2:
        job.remarks.append(
            "weights are not resharded after the forward pass: gradients and states are sharded, weights gathered once"
        )
    if copies > 1 and job.zero:
        if shards is not None:
            job.shard_group = shards * job.cp
        job.remarks.append(
            "weights are sharded in groups and copied between them; DistributedModel shards over all ranks"
        )


def _schedule(flags: Flags, job: Job) -> None:
    word = flags.word(
        "parallelism.pipeline_parallel_schedule", "experimental.pipeline_parallel_schedule", default="1f1b"
    )
    if job.pp == 1:
        flags.count("parallelism.pipeline_parallel_microbatch_size")
        flags.count("parallelism.pipeline_parallel_layers_per_stage")
        return
    job.schedule, job.chunks = SCHEDULES.get(str(word), ("", 1))
    if not job.schedule:
        job.schedule = "1f1b"
        job.ignored.append(f"parallelism.pipeline_parallel_schedule = {word} (1F1B is taken)")
    elif job.schedule in ("zero-bubble", "dualpipe"):
        job.remarks.append(
            f"the schedule {word} is taken as {'ZB-H1' if job.schedule == 'zero-bubble' else 'DualPipe'}"
        )
    deep = flags.count("parallelism.pipeline_parallel_layers_per_stage")
    layers = int(getattr(getattr(job.model, "si", None), "layers", None) or 1)
    if job.schedule == "interleaved":
        if deep is not None:
            job.chunks = max(-(-layers // (deep * job.pp)), 1)
        else:
            job.remarks.append("chunks of a stage are not told; an interleaved schedule has two here")


def _arithmetic(flags: Flags, job: Job) -> None:
    job.precision = "fp32" if flags.word("training.mixed_precision_param") == "float32" else "bf16"
    converters = [part for entry in flags.whole("model.converters") for part in re.split(r"[\s,]+", str(entry).lower())]
    for converter in filter(None, converters):
        if "float8" in converter:
            job.precision = "fp8"
        elif converter == "mx" or converter.endswith(".mx"):
            job.precision = "mxfp8"
        else:
            job.ignored.append(f"model.converters = {converter}")
    if "float8" in {name.split(".")[0] for name in flags.data} and job.precision != "fp8":
        job.remarks.append("the section [float8] has no effect: model.converters does not name float8")
    mode = flags.choice({"none": "none", "selective": "selective", "full": "full", "memory_budget": "selective"},
                        "activation_checkpoint.mode", default="selective")  # fmt: skip
    job.recompute = mode
    if mode == "selective":
        job.remarks.append("selective activation checkpointing is taken as recomputing the attention scores")
    job.optimizer = flags.choice(OPTIMIZERS, "optimizer.name", default="adamw")
    if not flags.flag("compile.enable", "training.compile", "compile.enabled"):
        job.stack = "fsdp_eager"
    if flags.flag("training.enable_cpu_offload"):
        job.offload = "cpu"
        if job.zero == 3:
            job.offload_param = "cpu"
    for name, text in (("optimizer.early_step_in_backward", "gradients are kept until the update here"),
                       ("parallelism.enable_async_tensor_parallel", "tensor-parallel traffic is not hidden")):  # fmt: skip
        if flags.flag(name):
            job.ignored.append(f"{name} ({text})")
    for name in ("training.dtype", "training.mixed_precision_reduce"):
        if flags.word(name, default="float32") != "float32":
            job.ignored.append(f"{name} = {flags.word(name)} (32 bits are kept here)")


def parsed_toml(text: str, label: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        InvalidInputError: no TOML, or a Python without a reader of TOML
    """
    try:
        import tomllib
    except ImportError:
        raise InvalidInputError(f"{label}: reading TOML needs Python 3.11 or later") from None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{label}: expected TOML, found {' '.join(str(error).split())[:120] or 'tables nested too deep'}"
        ) from None
