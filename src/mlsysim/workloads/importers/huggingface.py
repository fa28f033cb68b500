"""A ``config.json`` of Hugging Face to a spec, with its parameters summed from the architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...catalog.load import build
from ...catalog.models import StateSpace, Transformer, Workload
from ...catalog.source import Fact, Source
from ...errors import CatalogError, InvalidInputError, UnsupportedWorkloadError, alternatives, nearest
from ...physics import ssm
from ...physics import transformer as eq
from ..transformer import parameter_count, shape
from .config import Config, shortened
from .encoders import vision_tower
from .families import READERS, Reader, reader, stem
from .quantisation import weight_format

LANGUAGE = ("text_config", "llm_config", "language_config", "language_model", "thinker_config")
"""Sections that hold the language model of a multimodal one."""


def from_config(
    data: Mapping[str, Any], name: str, source: Source, quantisation: Mapping[str, Any] | None = None
) -> Workload:
    """The model that a config describes.

    Args:
        data: the mapping in ``config.json``
        name: what to call the model
        source: where the config comes from
        quantisation: the mapping in ``hf_quant_config.json``, if there is one beside it

    Raises:
        InvalidInputError: keys that are missing or make no sense, all of them at once
        UnsupportedWorkloadError: an architecture that is not known

    Examples:
        >>> llama = {"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        ...          "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256}
        >>> model = from_config(llama, "Llama-3-8B", Source(kind="assumed", title="config", reason="an example"))
        >>> f"{model.si.parameters:,.0f}"
        '8,030,261,248'
    """
    whole = Config(dict(data), name)
    architecture, read = _architecture(whole)
    language = whole
    for key in LANGUAGE:
        section = whole.section(key)
        if section is not None:
            language = section.section("text_config") or section
            break
    if language is not whole and "tie_word_embeddings" in data and "tie_word_embeddings" not in language.data:
        language.data["tie_word_embeddings"] = data["tie_word_embeddings"]
    draft = read(language)
    notes = list(draft.notes)
    if quantisation:
        whole.data["quantization_config"] = quantisation.get("quantization", quantisation)
    stored, remarks = weight_format(whole)
    notes += remarks
    tower = whole.section("vision_config") or language.section("vision_config")
    seen = vision_tower(tower) if tower is not None else 0.0
    if seen:
        draft.values["vision_parameters"] = seen
        notes.append("the vision tower is estimated from its config")
    if whole.problems:
        whole.close()
    values = {key: value for key, value in draft.values.items() if value is not None}
    if stored is not None:
        values["checkpoint_format"] = stored
    note = "; ".join(notes)
    try:
        if values["architecture"] == "ssm":
            return _state_space(values, name, source, note)
        return _transformer(values, draft.extra, name, source, note, architecture)
    except (CatalogError, ZeroDivisionError, OverflowError) as error:
        raise InvalidInputError(f"{name}: its config does not describe a {architecture}: {error}") from None


def _architecture(config: Config) -> tuple[str, Reader]:
    """The first architecture named that is known; the model type where none is named."""
    named = [str(entry) for entry in config.sequence("architectures")]
    kinds = {_plain(key): key for key in READERS}
    if not named and config.get("ssm_cfg") is not None:
        return "Mamba", READERS["Mamba"]  # the first checkpoints of Mamba name no architecture
    if not named and isinstance(config.get("model_type"), str):
        key = kinds.get(_plain(str(config.get("model_type")).removesuffix("_text")))
        named = [key] if key is not None else [str(config.get("model_type"))]
    for name in named:
        found = reader(name)
        if found is not None:
            return name, found
    if not named:
        raise InvalidInputError(f"{config.label}: expected the config of a model, with 'architectures' or 'model_type'")
    near = nearest(stem(named[0]), READERS) or ["Llama", "Mixtral", "DeepseekV3"]
    raise UnsupportedWorkloadError(
        f"{config.label}: no architecture named {shortened(named[0])} is known; the nearest are {alternatives(near)}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def identifier(name: str) -> str:
    """A name as a Python attribute.

    Examples:
        >>> identifier("meta-llama/Llama-3.1-8B"), identifier("7b")
        ('Llama_3_1_8B', 'Model_7b')
    """
    text = re.sub(r"\W+", "_", name.rstrip("/").rsplit("/", 1)[-1], flags=re.ASCII).strip("_") or "Model"
    return text if text[0].isalpha() else f"Model_{text}"


def _facts(values: Mapping[str, Any], source: Source, derived: Mapping[str, tuple[float, Source]]) -> dict[str, Fact]:
    facts = {key: Fact(value=value, unit="", source=source) for key, value in values.items()}
    return facts | {key: Fact(value=value, unit="", source=where) for key, (value, where) in derived.items()}


def _transformer(
    values: dict[str, Any], extra: float, name: str, source: Source, note: str, architecture: str
) -> Transformer:
    own = {"id": identifier(name), "name": name, "family": "user", "note": note}
    first: Transformer = build(Transformer, _facts(values, source, {"parameters": (1.0, source)}), name, None, **own)
    total = parameter_count(first) + extra
    where = Source(kind="derived", title=f"sum over the layers of {architecture}", reason=f"shapes from {source.title}")
    derived = {"parameters": (total, where)}
    if "experts" in values:
        idle = shape(first).routed * (1 - values["active_experts"] / values["experts"])
        why = "all parameters less those of the experts that a token does not choose"
        derived["active_parameters"] = (total - idle, Source(kind="derived", title="active parameters", reason=why))
    built: Transformer = build(Transformer, _facts(values, source, derived), name, None, **own)
    return built


def _state_space(values: dict[str, Any], name: str, source: Source, note: str) -> StateSpace:
    tied = values.pop("tied")
    inner = values["ssm_expand"] * values["hidden"]
    if "ssm_heads" in values:
        block = ssm.mamba2_parameters(
            values["hidden"], values["ssm_heads"] * values["ssm_head_dim"], values["ssm_state"], values["ssm_heads"],
            values["ssm_groups"], values["conv_kernel"],
        )  # fmt: skip
    else:
        block = ssm.mamba_parameters(
            values["hidden"], inner, values["ssm_state"], values["dt_rank"], values["conv_kernel"]
        )
    embeddings = eq.embedding_parameters(values["vocab"], values["hidden"], 1.0 if tied else 2.0)
    total = values["layers"] * (block + values["hidden"]) + values["hidden"] + embeddings
    where = Source(kind="derived", title="sum over blocks and embeddings", reason=f"shapes from {source.title}")
    built: StateSpace = build(
        StateSpace, _facts(values, source, {"parameters": (float(total), where)}), name, None,
        id=identifier(name), name=name, family="user", note=note,
    )  # fmt: skip
    return built
