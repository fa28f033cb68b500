"""A training job's own configuration as a question: Megatron-LM, NeMo, DeepSpeed and torchtitan files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog import yaml_file
from ..errors import InvalidInputError, alternatives, nearest, told
from ..workloads.importers.config import parsed
from . import training_config_files as files
from . import training_config_megatron as megatron
from .border import Border
from .training_config_flags import Flags, Given, Job, dealt

KINDS = ("megatron", "nemo", "deepspeed", "torchtitan")
LARGEST = 1 << 20
"""Bytes of the largest file that is read."""
SUFFIXES = {".json": "deepspeed", ".toml": "torchtitan", ".yaml": "nemo", ".yml": "nemo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What a file says about a training job, in the words of this package, and what became of each of its flags."""

    source: str
    kind: str
    model: Any
    gpus: int
    arguments: dict[str, Any]
    """Arguments of ``DistributedModel.solve`` besides the model and the fleet."""
    microbatch_size: int
    stack: str
    steps: int | None = None
    tokens: int | None = None
    expert_tp: int | None = None
    shard_group: int | None = None
    offload_layers: int | None = None
    """Layers of a stage whose activations wait on the host."""
    read: tuple[str, ...] = ()
    """Flags that were used, as the file states them."""
    not_understood: tuple[str, ...] = ()
    """Flags that may change time or memory and are not in the answer; in brackets, what is done instead."""
    remarks: tuple[str, ...] = ()
    """Defaults that were taken, and approximations."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Every flag that was read, every one that was not understood, and the remarks."""
        return (
            *(f"read: {entry}" for entry in self.read),
            *(f"not understood: {entry}" for entry in self.not_understood),
            *self.remarks,
        )

    @property
    def step_arguments(self) -> dict[str, Any]:
        """The same job as arguments of ``TrainingStepModel.solve``, besides the model and the fleet."""
        same = ("batch_size", "precision", "tp_size", "pp_size", "ep_size", "cp_size", "v_stages", "zero_stage",
                "activation_recomputation", "seq_len", "schedule", "sequence_parallel", "optimizer", "lora_rank", "offload",
                "offload_param")  # fmt: skip
        found = {name: self.arguments[name] for name in same if name in self.arguments}
        return found | {"microbatch_size": self.microbatch_size, "stack": self.stack, "expert_tp": self.expert_tp,
                        "shard_group": self.shard_group, "offload_layers": self.offload_layers}  # fmt: skip

    def solve(self, fleet: Any, **changes: Any) -> Any:
        """One step of the job on a fleet of as many GPUs: ``DistributedModel``, with some arguments changed."""
        from .distributed import DistributedModel

        return DistributedModel().solve(self.model, fleet, **{**self.arguments, **changes})

    def __str__(self) -> str:
        """A few lines: the model, the plan, and what was not understood."""
        plan = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
        lines = [f"{self.source} ({self.kind}): {self.model.id} on {self.gpus} GPUs", f"  {plan}"]
        lines += [f"  not understood: {entry}" for entry in self.not_understood]
        return "\n".join([*lines, *(f"  {entry}" for entry in self.remarks)])


def training_question(
    source: Any,
    *,
    kind: str | None = None,
    model: Any = None,
    gpus: int | None = None,
    seq_len: int | None = None,
    batch_size: int | None = None,
    microbatch_size: int | None = None,
    vocab: int | None = None,
) -> TrainingConfig:
    """Read a training job's configuration: which model, how it is split, and how much of the file is in the answer.

    Nothing of the file is run. What is passed counts more than what the file says.

    Args:
        source: a path, the text itself, a list of command-line arguments, or a mapping already read
        kind: ``"megatron"`` (arguments or a shell script), ``"nemo"`` (NeMo or Megatron-Bridge YAML), ``"deepspeed"``
            (JSON), ``"torchtitan"`` (TOML); told from suffix and content if not given
        model: an entry of ``Models`` or its name, where the file names none or another
        gpus: GPUs of the job
        seq_len: tokens of a sequence
        batch_size: sequences of an optimizer step
        microbatch_size: sequences of one pass of one rank
        vocab: words of the tokenizer, before padding

    Returns:
        The model, arguments of ``DistributedModel`` and ``TrainingStepModel``, and a list of flags read and not
        understood.

    Raises:
        InvalidInputError: a file that cannot be read, or values that are missing or make no sense
        InvalidPlanError: ranks or batches that contradict each other
        UnknownEntryError: no model of that name
        MissingFactError: a vocabulary that neither the file nor the catalog tells

    Examples:
        >>> config = training_question(
        ...     "--num-layers 96 --hidden-size 12288 --num-attention-heads 96 --seq-length 2048 --bf16 "
        ...     "--tensor-model-parallel-size 8 --pipeline-model-parallel-size 8 --micro-batch-size 1 "
        ...     "--global-batch-size 1536 --recompute-granularity full --lr 6e-5 --overlap-moe-magic",
        ...     gpus=1536, vocab=50257)
        >>> config.arguments["microbatch_count"], config.not_understood
        (64, ('overlap-moe-magic = yes',))
        >>> f"{config.model.si.parameters / 1e9:.1f}"
        '174.6'
    """
    given = _given(model, gpus, seq_len, batch_size, microbatch_size, vocab)
    if kind is not None and kind not in KINDS:
        near = nearest(kind, KINDS)
        hint = f"; did you mean {alternatives(near)}?" if near else ""
        raise InvalidInputError(f"kind: expected {alternatives(KINDS)}, found {told(kind)}{hint}")
    flags, job, label, found = _read(source, kind, given)
    total, data, batch, count = dealt(label, job, given.gpus)
    harmless = {"deepspeed": files.HARMLESS_JSON, "torchtitan": files.HARMLESS_TOML}.get(found, megatron.HARMLESS)
    accumulation = job.accumulation or 1
    arguments: dict[str, Any] = dict(
        batch_size=batch, precision=job.precision, tp_size=job.tp, pp_size=job.pp, ep_size=job.ep, cp_size=job.cp,
        v_stages=job.chunks, microbatch_count=count // accumulation, gradient_accumulation_steps=accumulation,
        zero_stage=job.zero, activation_recomputation=job.recompute, overlap_comm=job.overlap, seq_len=job.seq_len,
        sequence_parallel=job.sequence_parallel, schedule=job.schedule, fused_attention=job.fused_attention,
        optimizer=job.optimizer,
    )  # fmt: skip
    if job.lora_rank is not None:
        arguments |= {"is_lora": True, "lora_rank": job.lora_rank}
    arguments |= {
        name: place
        for name, place in (("offload", job.offload), ("offload_param", job.offload_param))
        if place != "none"
    }
    if job.expert_tp is not None and (job.expert_tp != job.tp or data % job.ep):
        arguments["expert_tp"] = job.expert_tp
    samples = job.samples if job.samples is not None else job.steps * batch if job.steps is not None else None
    remarks = list(job.remarks)
    if job.gpus is not None and total != job.gpus:
        remarks.append(f"the file is for {job.gpus} GPUs; {total} were passed")
    return TrainingConfig(
        source=label, kind=found, model=job.model, gpus=total, arguments=arguments,
        microbatch_size=job.micro, stack=job.stack, steps=-(-samples // batch) if samples is not None else None,
        tokens=samples * job.seq_len if samples is not None else None, expert_tp=job.expert_tp,
        shard_group=job.shard_group, offload_layers=job.offload_layers, read=tuple(flags.read),
        not_understood=(*dict.fromkeys(job.ignored), *flags.unread(harmless)), remarks=tuple(dict.fromkeys(remarks)),
    )  # fmt: skip


def _given(model: Any, gpus: Any, seq_len: Any, batch: Any, micro: Any, vocab: Any) -> Given:
    border = Border()
    numbers = {name: None if value is None else border.count(name, value) for name, value in (
        ("gpus", gpus), ("seq_len", seq_len), ("batch_size", batch), ("microbatch_size", micro), ("vocab", vocab))}  # fmt: skip
    entry = None if model is None else border.model(model)
    border.close()
    return Given(model=entry, **{name: None if value is None else int(value) for name, value in numbers.items()})


def _read(source: Any, kind: str | None, given: Given) -> tuple[Flags, Job, str, str]:
    if isinstance(source, Mapping):
        tree = {str(key): value for key, value in source.items()}
        return *_from_tree(tree, "the configuration", kind, given), _kind_of(tree, kind)
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        words = list(source)
        if not all(isinstance(word, str) for word in words):
            raise InvalidInputError("source: expected a list of texts, found other things in it")
        label = "the argument list"
        return *megatron.from_words(words, label, given), label, "megatron"
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(
            f"source: expected a path, a text, a list of arguments or a mapping, found {type(source).__name__}"
        )
    text, label, suffix = _text(source)
    found = kind or SUFFIXES.get(suffix) or _guess(text)
    if found == "deepspeed":
        return *files.from_json(parsed(text.encode(), label), label, given), label, found
    if found == "torchtitan":
        return *files.from_toml(files.parsed_toml(text, label), label, given), label, found
    if found == "nemo":
        return *megatron.from_yaml(yaml_file.parse(text, label), label, given), label, found
    return *megatron.from_script(text, label, given), label, "megatron"


def _from_tree(tree: Mapping[str, Any], label: str, kind: str | None, given: Given) -> tuple[Flags, Job, str]:
    found = _kind_of(tree, kind)
    if found == "deepspeed":
        return *files.from_json(tree, label, given), label
    if found == "torchtitan":
        return *files.from_toml(tree, label, given), label
    return *megatron.from_yaml(tree, label, given), label


def _kind_of(tree: Mapping[str, Any], kind: str | None) -> str:
    if kind is not None:
        return "nemo" if kind == "megatron" else kind
    if any(key in tree for key in ("zero_optimization", "train_batch_size", "train_micro_batch_size_per_gpu")):
        return "deepspeed"
    part = tree.get("model")
    return "torchtitan" if isinstance(part, Mapping) and "flavor" in part else "nemo"


def _text(source: str | Path) -> tuple[str, str, str]:
    """The text, what to call it in messages, and the suffix of the file."""
    if isinstance(source, str) and ("\n" in source or source.lstrip()[:1] in ("{", "-") or " --" in source):
        if len(source) > LARGEST:
            raise InvalidInputError(f"the text: expected at most {LARGEST} characters, found {len(source)}")
        return source, "the text", ""
    path, label = Path(source), told(str(source), 200).strip("'")
    try:
        if path.is_dir():
            raise InvalidInputError(f"{label}: is a folder; expected a file of a training job")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        reason = getattr(error, "strerror", None) or "no such file name"
        raise InvalidInputError(f"{label}: cannot be read ({reason})") from None
    if len(data) > LARGEST:
        raise InvalidInputError(f"{label}: expected a file of at most {LARGEST >> 20} MiB, found more")
    try:
        return data.decode("utf-8-sig"), label, path.suffix.lower()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{label}: expected a text, found bytes that are no UTF-8") from None


def _guess(text: str) -> str:
    """The kind of a text from what it looks like."""
    if text.lstrip().startswith("{"):
        return "deepspeed"
    if re.search(r"(?:^|\s)--[a-z]", text):
        return "megatron"
    if re.search(r"^\s*\[[\w.]+\]\s*(?:#.*)?$", text, re.MULTILINE):
        return "torchtitan"
    return "nemo" if re.search(r"^[\w.]+:(?:\s|$)", text, re.MULTILINE) else "megatron"
