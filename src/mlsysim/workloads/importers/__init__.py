"""Models from elsewhere: a config, a checkpoint, a graph or a module becomes a workload."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...catalog.load import build
from ...catalog.models import Workload
from ...catalog.source import Fact, Source
from ...errors import InvalidInputError, alternatives
from . import gguf, hub, safetensors
from .checkpoint import Checkpoint
from .config import parsed, read_json
from .gguf_model import from_header
from .huggingface import from_config, identifier

__all__ = ["Checkpoint", "default_precision", "from_config", "import_model", "is_importable", "read_header"]

SUFFIXES = (".json", ".safetensors", ".gguf", ".onnx")


def import_model(source: Any, *inputs: Any, name: str | None = None, **options: Any) -> Workload:
    """A model from a file, a folder, the Hugging Face hub, or a PyTorch module.

    Args:
        source: ``config.json`` or its mapping, a folder that holds one, ``hf://organisation/model`` (or the bare id), a
            ``.safetensors`` or ``.gguf`` file, an ``.onnx`` graph, or a ``torch.nn.Module``
        inputs: of a module, example inputs or their shapes
        name: what to call the model; the name of the file, folder or repository unless said
        options: of a graph, ``sizes={"batch": 1, "sequence": 128}`` for its symbolic extents

    Raises:
        InvalidInputError: a source that is not there, or does not hold what its form says
        UnsupportedWorkloadError: an architecture that is not known; the message names near ones
        MissingFactError: the hub is out of reach
        MissingExtraError: a graph or module needs a package that is not installed

    Examples:
        >>> model = import_model(
        ...     {"architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000,
        ...      "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "num_local_experts": 8,
        ...      "num_experts_per_tok": 2}, name="Mixtral")
        >>> f"{model.si.parameters / 1e9:.1f} B, {model.si.active_parameters / 1e9:.1f} B active"
        '46.7 B, 12.9 B active'
    """
    if isinstance(source, dict):
        origin = Source(kind="assumed", title="config given in Python", reason="given in Python by the user")
        return from_config(source, name or _called(source) or "Imported", origin)
    if not isinstance(source, (str, os.PathLike)):
        if hasattr(source, "named_parameters") and callable(source):
            from .module import from_module

            return from_module(source, *inputs, name=name, **options)
        raise InvalidInputError(
            f"source: expected a path, hf://organisation/model or a module, found {type(source).__name__}"
        )
    if isinstance(source, str) and source.startswith("hf://"):
        return _from_hub(source, name)
    path = Path(source)
    try:
        folder, there = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # too long, or a character that no path holds
        folder = there = False
    if folder:
        return _from_folder(path, name)
    if there:
        return _from_file(path, name, options)
    if isinstance(source, str) and hub.NAME.fullmatch(source) and path.suffix.lower() not in SUFFIXES:
        return _from_hub(source, name)
    raise InvalidInputError(
        f"{str(source)[:200]}: no such file or folder; expected {alternatives(['config.json', 'a folder', *SUFFIXES[1:]])},"
        " or hf://organisation/model"
    )


def read_header(path: str | os.PathLike[str]) -> Checkpoint:
    """Parameters, types and bytes of a checkpoint from its header alone.

    Args:
        path: a ``.safetensors`` or ``.gguf`` file, or the index of a sharded checkpoint

    Raises:
        InvalidInputError: no such file, or a header that lies
    """
    where = Path(path)
    return gguf.read(where) if where.suffix.lower() == ".gguf" else safetensors.read(where)


def is_importable(name: str) -> bool:
    """Whether a text names something to import rather than an entry of the catalog."""
    if name.startswith("hf://") or name.lower().endswith(SUFFIXES):
        return True
    return "/" in name and not name.endswith((".yaml", ".yml")) and os.path.isdir(name)


def default_precision(model: Workload) -> str | None:
    """The number format that a checkpoint is quantised to; None if it is not."""
    stored = model.checkpoint_format
    return stored if stored not in ("fp32", "fp16", "bf16", "fp64") else None


def _called(config: dict[str, Any]) -> str:
    told = config.get("_name_or_path")
    return told.rstrip("/").rsplit("/", 1)[-1] if isinstance(told, str) and 0 < len(told) < 200 else ""


def _from_hub(source: str, name: str | None) -> Workload:
    repository, revision = hub.split(source)
    title = f"config.json of {repository}"
    local = hub.cached(repository, revision)
    if local is not None:
        data, where = read_json(local), f"{hub.endpoint()}/{repository}/blob/{revision}/config.json"
    else:
        text, where = hub.fetched(repository, revision)
        data = parsed(text, repository)
    return from_config(data, name or repository, Source(kind="datasheet", title=title, url=where))


def _local(path: Path) -> Source:
    return Source(kind="assumed", title=path.name, reason=f"read from {path}")


def _from_folder(folder: Path, name: str | None) -> Workload:
    path = folder / "config.json"
    if path.is_file():
        quantised = folder / "hf_quant_config.json"
        found = read_json(quantised) if quantised.is_file() else None
        model = from_config(read_json(path), name or folder.resolve().name, _local(path), found)
        weights = safetensors.beside(folder)
        return model if weights is None else _weighed(model, weights)
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return _from_file(files[0], name, {})
    raise InvalidInputError(f"{folder}: expected a folder with config.json or one .gguf file")


def _weighed(model: Workload, path: Path) -> Workload:
    """The model with the size of its checkpoint; a count that differs from its architecture's is told in its note."""
    header = safetensors.read(path)
    model = model.replace(weight_size=f"{header.size} byte")
    count, summed = header.parameters, model.si.parameters
    if count is None or abs(count - summed) <= 0.01 * summed:
        return model
    told = f"the checkpoint holds {count:,} parameters, its architecture {summed:,.0f}"
    object.__setattr__(model, "note", "; ".join(part for part in (model.note, told) if part))
    return model


def _from_file(path: Path, name: str | None, options: dict[str, Any]) -> Workload:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from .graph import from_graph

        return from_graph(path, name=name or path.stem, source=_local(path), **options)
    if suffix == ".gguf":
        header = gguf.read(path)
        told = header.metadata.get("general.name")
        called = name or (told.strip() if isinstance(told, str) and told.strip() else path.stem)
        return from_header(header, called[:200], _local(path))
    if suffix == ".safetensors" or path.name.endswith(".safetensors.index.json"):
        config = path.parent / "config.json"
        if config.is_file():
            return _weighed(from_config(read_json(config), name or path.resolve().parent.name, _local(config)), path)
        return _of_unknown_shape(path, name)
    if suffix == ".json":
        data = read_json(path)
        parent = path.resolve().parent.name if path.name == "config.json" else path.stem
        return from_config(data, name or _called(data) or parent or "Imported", _local(path))
    raise InvalidInputError(f"{path}: expected {alternatives(['config.json', *SUFFIXES[1:]])}")


def _of_unknown_shape(path: Path, name: str | None) -> Workload:
    header = safetensors.read(path)
    if header.parameters is None:
        raise InvalidInputError(
            f"{path}: its weights are packed, so the header does not say how many there are; put config.json beside it"
        )
    source, called = _local(path), name or path.name.split(".")[0]
    values: dict[str, Any] = {"architecture": "checkpoint", "parameters": float(header.parameters)}
    values |= {"checkpoint_format": header.format} if header.format else {}
    facts = {key: Fact(value=value, unit="", source=source) for key, value in values.items()}
    facts["weight_size"] = Fact(value=header.size, unit="byte", source=source)
    note = "the header holds no shape: two FLOPs a parameter are taken, and nothing is cached; config.json beside it tells more"
    built: Workload = build(Workload, facts, called, None, id=identifier(called), name=called, family="user", note=note)
    return built
