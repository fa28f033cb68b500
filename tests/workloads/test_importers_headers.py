"""Headers of safetensors and GGUF files, and the hub: small files and a small server made here."""

import http.server
import json
import struct
import threading
import time
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Engine, import_model
from mlsysim.errors import (
    InvalidInputError,
    MissingExtraError,
    MissingFactError,
    MLSysimError,
    UnsupportedWorkloadError,
)
from mlsysim.workloads.importers import hub, read_header

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
PATIENCE = hub.TIMEOUT
BYTES = {"BF16": 2, "F32": 4, "I32": 4}


def safetensors(path, tensors):
    """A file with a true header and no weights but a hole of the right size."""
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, (kind, shape) in tensors.items():
        size = BYTES[kind]
        for side in shape:
            size *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)
    return path


def text(value):
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def gguf(path, metadata, tensors, version=3):
    """A file with a header alone; numbers as u32, texts, and lists of either."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            words = isinstance(value[0], str)
            out += struct.pack("<IIQ", 9, 8 if words else 4, len(value))
            out += b"".join(text(entry) if words else struct.pack("<I", entry) for entry in value)
        else:
            out += struct.pack("<II", 4, value)
    for name, (kind, shape) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
    path.write_bytes(out)
    return path


LLAMA_GGUF = {
    "general.architecture": "llama", "general.name": "Tiny", "llama.block_count": 2, "llama.embedding_length": 256,
    "llama.feed_forward_length": 512, "llama.attention.head_count": 4, "llama.attention.head_count_kv": [2, 2],
    "llama.context_length": 4096, "tokenizer.ggml.tokens": ["a", "b", "c"],
}  # fmt: skip


def one_layer(index):
    q4_k = 12
    return {
        f"blk.{index}.attn_q.weight": (q4_k, [256, 256]), f"blk.{index}.attn_k.weight": (q4_k, [256, 128]),
        f"blk.{index}.attn_v.weight": (14, [256, 128]), f"blk.{index}.attn_output.weight": (q4_k, [256, 256]),
        f"blk.{index}.ffn_gate.weight": (q4_k, [256, 512]), f"blk.{index}.ffn_up.weight": (q4_k, [256, 512]),
        f"blk.{index}.ffn_down.weight": (q4_k, [512, 256]), f"blk.{index}.attn_norm.weight": (0, [256]),
        f"blk.{index}.ffn_norm.weight": (0, [256]),
    }  # fmt: skip


TENSORS = {"token_embd.weight": (12, [256, 1000]), "output_norm.weight": (0, [256]), **one_layer(0), **one_layer(1)}


def test_a_safetensors_header_counts_parameters_and_bytes(tmp_path):
    path = safetensors(tmp_path / "w.safetensors", {"a": ("BF16", [3, 5]), "b": ("F32", [7]), "c": ("BF16", [])})
    found = read_header(path)
    assert found.parameters == 3 * 5 + 7 + 1
    assert found.size == 2 * 16 + 4 * 7
    assert found.format == "bf16"
    assert found.values == {"BF16": 16, "F32": 7}


def test_a_large_checkpoint_is_read_at_once(tmp_path):
    # 100 GB that nobody reads: the file is a hole
    path = safetensors(tmp_path / "w.safetensors", {"a": ("BF16", [50_000, 1_000_000])})
    start = time.perf_counter()
    model = import_model(path)
    assert time.perf_counter() - start < 1
    assert (model.si.parameters, model.si.weight_size) == (5e10, 1e11)
    assert "two FLOPs a parameter" in model.note
    assert Engine.solve(model, "H100").feasible is False


def test_a_sharded_checkpoint_is_the_sum_of_its_files(tmp_path):
    safetensors(tmp_path / "1.safetensors", {"a": ("BF16", [10])})
    safetensors(tmp_path / "2.safetensors", {"b": ("BF16", [20])})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    assert read_header(index).parameters == 30
    for map_, told in [
        ({"a": "3.safetensors"}, "1 of 1 files are missing"),
        ({"z": "1.safetensors"}, "no file holds the tensor 'z'"),
        ({"a": "../../etc/passwd"}, "files beside the index"),
        ({"a": 5}, "expected a 'weight_map'"),
    ]:
        index.write_text(json.dumps({"weight_map": map_}))
        with pytest.raises(InvalidInputError, match=told):
            read_header(index)


def test_a_folder_knows_its_config_and_the_size_of_its_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    model = import_model(tmp_path)
    assert model.si.weight_size is None
    count = int(model.si.parameters)
    safetensors(tmp_path / "model.safetensors", {"all": ("BF16", [count])})
    for source in (tmp_path, tmp_path / "model.safetensors"):
        found = import_model(source)
        assert (found.si.parameters, found.si.weight_size, found.note) == (count, 2 * count, "")
    safetensors(tmp_path / "model.safetensors", {"all": ("BF16", [2 * count])})
    assert f"the checkpoint holds {2 * count:,} parameters" in import_model(tmp_path).note
    safetensors(tmp_path / "model.safetensors", {"packed": ("I32", [count // 8])})
    assert import_model(tmp_path).note == ""  # packed weights do not say how many there are


def test_packed_weights_without_a_config_are_not_counted(tmp_path):
    path = safetensors(tmp_path / "w.safetensors", {"q": ("I32", [8])})
    with pytest.raises(InvalidInputError, match=r"packed.*config\.json"):
        import_model(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected a safetensors file, found 0 bytes"),
        (struct.pack("<Q", 2**63), "a length of 9223372036854775808"),
        (struct.pack("<Q", 5) + b"{}", "a header of at most 2 bytes"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "no UTF-8"),
        (struct.pack("<Q", 2) + b"[]", "a mapping"),
        (struct.pack("<Q", 60_000) + b"[" * 60_000, "JSON"),
        (struct.pack("<Q", 12) + b'{"a": [1,2]}', "expected a mapping"),
    ],
)
def test_a_header_that_lies_is_refused_in_one_line(tmp_path, content, told):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=told) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "BF16", "shape": [10**9, 10**9], "data_offsets": [0, 4]},
        {"dtype": "BF16", "shape": [-2], "data_offsets": [0, 4]},
        {"dtype": "BF16", "shape": [2], "data_offsets": [4, 0]},
        {"dtype": "BF16", "shape": [2], "data_offsets": [0, 10**12]},
        {"dtype": "X", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "BF16", "shape": [True], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": "2", "data_offsets": [0, 4]},
    ],
)
def test_a_tensor_that_cannot_be_is_refused(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(InvalidInputError, match="tensor 'a'"):
        read_header(path)


def test_a_gguf_header_gives_shape_parameters_and_bytes(tmp_path):
    path = gguf(tmp_path / "m.gguf", LLAMA_GGUF, TENSORS)
    model = import_model(path)
    m = model.si
    layer = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512
    assert m.parameters == 2 * (layer + 2 * 256) + 256 + 256 * 1000
    assert (m.layers, m.hidden, m.heads, m.kv_heads, m.head_dim, m.ffn, m.vocab) == (2, 256, 4, 2, 64, 512, 1000)
    assert (m.tied_embeddings, m.mlp_matrices, m.checkpoint_format, model.name) == (True, 3, "int4", "Tiny")
    # 144 bytes for 256 values of Q4_K, 210 of Q6_K (public table of the format)
    q6, norms = 2 * 256 * 128, 5 * 256
    assert m.weight_size == (m.parameters - q6 - norms) * 144 / 256 + q6 * 210 / 256 + 4 * norms
    assert Engine.solve(model, "H100", precision="int4").feasible


def test_a_gguf_mixture_knows_its_active_parameters(tmp_path):
    experts = {"llama.expert_count": 8, "llama.expert_used_count": 2, "llama.expert_feed_forward_length": 512}
    tensors = {
        **TENSORS,
        **{f"blk.{i}.ffn_{part}_exps.weight": (12, [256, 512, 8]) for i in (0, 1) for part in ("gate", "up", "down")},
    }
    m = import_model(gguf(tmp_path / "m.gguf", {**LLAMA_GGUF, **experts}, tensors)).si
    assert (m.experts, m.active_experts) == (8, 2)
    assert m.parameters - m.active_parameters == 2 * 6 * 3 * 256 * 512


@pytest.mark.parametrize(
    ("metadata", "tensors", "version", "told"),
    [
        (LLAMA_GGUF, TENSORS, 1, "version 2 or 3"),
        (LLAMA_GGUF, TENSORS, 3 << 24, "big-endian"),
        ({}, {}, 3, "general.architecture"),
        ({"general.architecture": "llama"}, {}, 3, "'block_count' is missing.*'vocab_size' is missing"),
        ({**LLAMA_GGUF, "llama.block_count": 0}, TENSORS, 3, "block_count: expected a whole number"),
        (LLAMA_GGUF, {"a": (99, [4])}, 3, "type 99 is not known"),
        (LLAMA_GGUF, {"a": (12, [4])}, 3, "does not fit blocks of 256"),
        (LLAMA_GGUF, {"a": (0, [2**40, 2**40])}, 3, "does not fit"),
    ],
)
def test_a_gguf_header_that_makes_no_sense(tmp_path, metadata, tensors, version, told):
    with pytest.raises(InvalidInputError, match=told) as caught:
        import_model(gguf(tmp_path / "m.gguf", metadata, tensors, version))
    assert "\n" not in str(caught.value)


def test_a_gguf_whose_shape_its_metadata_does_not_hold(tmp_path):
    with pytest.raises(UnsupportedWorkloadError, match=r"config\.json"):
        import_model(gguf(tmp_path / "m.gguf", {"general.architecture": "t5"}, {}))
    with pytest.raises(UnsupportedWorkloadError, match=r"config\.json"):
        import_model(gguf(tmp_path / "m.gguf", {"general.architecture": "jamba", "jamba.ssm.state_size": 16}, {}))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 700), noise=st.binary(max_size=40))
def test_a_cut_or_damaged_header_is_one_clear_line(tmp_path_factory, cut, noise):
    folder = tmp_path_factory.mktemp("damaged")
    for path in (
        gguf(folder / "m.gguf", LLAMA_GGUF, TENSORS),
        safetensors(folder / "m.safetensors", {"a": ("BF16", [3, 5])}),
    ):
        path.write_bytes(path.read_bytes()[:cut] + noise)
        told = ""
        try:
            import_model(path)
        except MLSysimError as fault:
            told = str(fault)
        assert "\n" not in told
        assert len(told) < 1000


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers like the hub: a config, a gated one, a missing one, too much, nonsense, nothing."""

    def do_GET(self):
        if "slow" in self.path:
            time.sleep(3)
        status = (
            401 if "gated" in self.path else 404 if "missing" in self.path else 503 if "broken" in self.path else 200
        )
        body = json.dumps(TINY).encode()
        if "huge" in self.path:
            body = b'{"a": "' + b"x" * (5 << 20) + b'"}'
        elif "nonsense" in self.path:
            body = b"<html>"
        try:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the reader has had enough

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def served():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def reachable(served, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", served)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "TIMEOUT", 30.0)  # a busy machine is no hub out of reach
    return served


def test_an_id_of_the_hub_becomes_a_model_with_its_source(reachable):
    for source in ("hf://org/tiny", "org/tiny", "hf://org/tiny@v1"):
        model = import_model(source)
        assert model.si.hidden == 64
        assert model.source("layers").url.startswith(f"{reachable}/org/tiny/resolve/")
        assert model.source("parameters").kind == "derived"


@pytest.mark.parametrize(
    ("source", "error", "told"),
    [
        ("hf://org/missing", MissingFactError, "has no config.json of that name"),
        ("hf://org/broken", MissingFactError, r"out of reach \(status 503\)"),
        ("hf://org/huge", InvalidInputError, "at most 4 MiB"),
        ("hf://org/nonsense", InvalidInputError, "expected a JSON mapping"),
        ("hf://org/a/b", InvalidInputError, "expected hf://organisation/model"),
        ("hf://../etc", InvalidInputError, "expected hf://organisation/model"),
        ("hf://org/a@../../x", InvalidInputError, "expected hf://organisation/model"),
    ],
)
def test_what_the_hub_does_not_give_is_told_in_one_line(reachable, source, error, told):
    with pytest.raises(error, match=told) as caught:
        import_model(source)
    assert "\n" not in str(caught.value)


def test_a_gated_model_names_the_package_that_knows_the_login(reachable, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"mlsysim\[hf\]"):
        import_model("hf://org/gated")


@pytest.mark.parametrize("slow", ["hf://org/slow", "hf://org/nowhere"])
def test_a_hub_out_of_reach_is_told_within_two_seconds(reachable, monkeypatch, slow):
    monkeypatch.setattr(hub, "TIMEOUT", PATIENCE)
    if "nowhere" in slow:
        # a name server that does not answer, which no time-out of a socket covers
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(3))
    start = time.perf_counter()
    with pytest.raises(MissingFactError, match="out of reach"):
        import_model(slow)
    assert time.perf_counter() - start < 2


def test_the_cache_of_the_hub_is_read_before_the_hub_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "fetched", lambda *_: pytest.fail("the hub was asked"))
    root = tmp_path / "models--org--tiny"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc123")
    (root / "snapshots" / "abc123").mkdir(parents=True)
    (root / "snapshots" / "abc123" / "config.json").write_text(json.dumps(TINY))
    assert import_model("hf://org/tiny").si.hidden == 64


def test_certificates_are_checked(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(InvalidInputError, match="expected an https address"):
        hub.endpoint()
