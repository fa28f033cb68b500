"""Configurations of training jobs: the same answer as by hand, published sizes, conserved ranks, hostile files."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlsysim import DistributedModel, Fleet, MLSysimError, Models, Systems, Transformer, training_question
from mlsysim.cli.app import app
from mlsysim.errors import InvalidInputError, InvalidPlanError, MissingFactError, UnknownEntryError
from mlsysim.solvers.training_step import TrainingStepModel

needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="the standard library reads TOML from 3.11 on")


def cluster(gpus, node="DGX_A100", fabric="InfiniBand_HDR"):
    return Fleet(name=f"{gpus} GPUs", node=Systems.Nodes[node], count=gpus // 8, fabric=Systems.Fabrics[fabric])


MEGATRON = """#!/bin/bash
#SBATCH --nodes=128
# Narayanan et al. 2021, GPT-3
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8
NUM_NODES=${SLURM_NNODES:-128}
WORLD_SIZE=$(($GPUS_PER_NODE*$NUM_NODES))
DATA_PATH=$1 #<Specify path>
TP=8
GPT_MODEL_ARGS=(
    --num-layers 96
    --hidden-size 12288
    --num-attention-heads 96  # can use (flash/fused)
    --seq-length 2048
    --max-position-embeddings 2048
)
TRAINING_ARGS="
    --micro-batch-size 1 \\
    --global-batch-size 1536
    --train-iters 1000
    --weight-decay 0.1 --lr 6.0e-5 --min-lr=6.0e-6
    --recompute-granularity full --sequence-parallel --bf16
"
GPT_MODEL_ARGS+=(--tokenizer-type 'GPT2BPETokenizer' --attention-dropout 0)
torchrun --nproc_per_node $GPUS_PER_NODE --nnodes $NUM_NODES pretrain_gpt.py \\
    ${GPT_MODEL_ARGS[@]} "${TRAINING_ARGS}" --tensor-model-parallel-size ${TP} \\
    --pipeline-model-parallel-size 8 --data-path "$DATA_PATH" --new-magic 3 | tee log
"""


def gpt3():
    """Sizes of GPT-3 in Narayanan et al. 2021; their equation 2 gives the parameters (V = 51,200, s = 2048)."""
    layers, hidden, vocab = 96, 12288, 51200
    parameters = 12 * layers * hidden**2 * (1 + 13 / (12 * hidden) + (vocab + 2048) / (12 * layers * hidden))
    return Transformer(
        name="GPT-3 by hand", architecture="transformer", parameters=parameters, layers=layers, hidden=hidden, heads=96,
        kv_heads=96, head_dim=128, vocab=vocab, ffn=4 * hidden, mlp_matrices=2.0, tied_embeddings=True,
    )  # fmt: skip


def test_gpt3_of_narayanan_2021_from_its_script_as_by_hand():
    config = training_question(MEGATRON)
    assert config.model.si.parameters == pytest.approx(174.6e9, rel=5e-4)  # table 2
    assert config.model.si.parameters == pytest.approx(gpt3().si.parameters, rel=1e-4)
    assert (config.gpus, config.kind) == (1024, "megatron")
    assert config.arguments["microbatch_count"] == 1536 / (1 * 16)  # section 2.2: m = B / (b d)
    assert (config.steps, config.tokens) == (1000, 1000 * 1536 * 2048)
    by_hand = DistributedModel().solve(
        gpt3(), cluster(1024), batch_size=1536, precision="bf16", tp_size=8, pp_size=8, microbatch_count=96,
        activation_recomputation="full", seq_len=2048,
    )  # fmt: skip
    read = config.solve(cluster(1024))
    for name in ("step_latency_total", "memory_per_device", "mfu", "bubble_fraction"):
        assert getattr(read.si, name) == pytest.approx(getattr(by_hand.si, name), rel=1e-4), name
    assert config.not_understood == ("new-magic = 3",)
    assert "num-layers = 96" in config.read
    assert all(f"read: {entry}" in config.notes for entry in config.read)


def test_the_kernel_by_kernel_step_takes_the_same_job():
    config = training_question(MEGATRON)
    step = TrainingStepModel().solve(config.model, cluster(1024), **config.step_arguments)
    assert step.si.step_latency_total > 0
    assert step.question.arguments["microbatch_size"] == 1


def test_a_script_is_read_as_a_shell_reads_it():
    config = training_question("""
NNODES=${SLURM_NNODES:-"1"}
ARGS=(
    --num-layers 4 --hidden-size 64
  #  --num-attention-heads 9 \\
   # --log-interval 7 \\
    --num-attention-heads 4 \\
    --vocab-size $((1000 + 8*3))  # $((7))
    #--seq-length 9
)
OPTIONS="--seq-length 128 \\
  --name \\"a # b\\" --micro-batch-size '2' --sequence-parallel"
ARGS+=("--fp8-format hybrid" --bf16)
if [ $NNODES = 1 ]; then ARGS+=(--global-batch-size 64); fi
torchrun --nproc_per_node=8 --nnodes $NNODES train.py "${ARGS[@]}" $OPTIONS 2>&1 | tee --append log
""")
    assert (config.gpus, config.model.si.heads, config.model.si.vocab) == (8, 4, 1024)
    assert (config.arguments["precision"], config.arguments["batch_size"], config.microbatch_size) == ("fp8", 64, 2)
    assert config.not_understood == ("append = log",)
    assert config.remarks == (
        "conditions and loops of the script are not followed: the last value of each flag counts",
    )


def test_a_list_a_text_and_a_file_say_the_same(tmp_path):
    words = ("--num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 128 --bf16 --vocab-size 1000 "
             "--micro-batch-size 2 --global-batch-size 32 --tensor-model-parallel-size 2")  # fmt: skip
    path = tmp_path / "args.txt"
    path.write_text(words.replace(" --", " \\\n  --"))
    answers = [training_question(source, gpus=8) for source in (words, words.split(), path, str(path))]
    assert len({str(answer.arguments) for answer in answers}) == 1
    assert {answer.model.si.parameters for answer in answers} == {answers[0].model.si.parameters}


NEMO = """
trainer: {devices: 8, num_nodes: 2, precision: bf16-mixed, max_steps: 10, gradient_clip_val: 1.0}
exp_manager: {explicit_log_dir: null, create_wandb_logger: false}
model:
  micro_batch_size: 2
  global_batch_size: 64
  tensor_model_parallel_size: 2
  pipeline_model_parallel_size: 2
  virtual_pipeline_model_parallel_size: 3
  encoder_seq_length: 512
  max_position_embeddings: ${.encoder_seq_length}
  num_layers: 12
  hidden_size: 768
  num_attention_heads: 12
  activations_checkpoint_granularity: selective
  sequence_parallel: true
  gc_interval: ${oc.env:GC}
  ub_tp_comm_overlap: true
  make_vocab_size_divisible_by: 128
  tokenizer: {library: megatron, type: GPT2BPETokenizer}
  optim: {name: distributed_fused_adam, lr: 2e-4, sched: {name: CosineAnnealing}}
"""


def test_nemo_and_megatron_say_the_same():
    nemo = training_question(NEMO)
    megatron = training_question(
        "--nnodes 2 --nproc-per-node 8 --bf16 --train-iters 10 --micro-batch-size 2 --global-batch-size 64 "
        "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 2 "
        "--seq-length 512 --num-layers 12 --hidden-size 768 --num-attention-heads 12 --recompute-activations "
        "--sequence-parallel --use-distributed-optimizer --vocab-size 50257"
    )
    assert nemo.kind == "nemo"
    assert nemo.arguments == megatron.arguments
    assert nemo.arguments["v_stages"] == 3
    assert nemo.model.si.parameters == megatron.model.si.parameters
    assert "model.gc_interval = ${oc.env:GC}" in nemo.not_understood
    assert "model.ub_tp_comm_overlap = yes" in nemo.not_understood


def test_adapters_of_nemo_are_trained_alone():
    text = NEMO.replace("  optim:", "  peft: {peft_scheme: lora, lora_tuning: {adapter_dim: 8}}\n  optim:")
    config, whole = training_question(text), training_question(NEMO)
    assert (config.arguments["is_lora"], config.step_arguments["lora_rank"]) == (True, 8)
    fleet = cluster(16)
    assert config.solve(fleet).si.optimizer_state < 0.1 * whole.solve(fleet).si.optimizer_state


TITAN = """
[model]
name = "llama3"
flavor = "405B"
converters = "float8"
[optimizer]
name = "AdamW"
lr = 8e-5
[training]
local_batch_size = 2
seq_len = 8192
steps = 3000
compile = true
[parallelism]
data_parallel_shard_degree = -1
tensor_parallel_degree = 8
enable_async_tensor_parallel = true
[activation_checkpoint]
mode = "full"
"""


@needs_toml
def test_llama3_405b_of_torchtitan():
    config = training_question(TITAN, gpus=128)  # its own preset: "for 128 H100 GPUs"
    assert config.model is Models.Llama3_405B
    wanted = dict(batch_size=32, precision="fp8", tp_size=8, pp_size=1, microbatch_count=1, zero_stage=3,
                  activation_recomputation="full", seq_len=8192, optimizer="adamw")  # fmt: skip
    assert {name: config.arguments[name] for name in wanted} == wanted
    assert config.not_understood[0].startswith("parallelism.enable_async_tensor_parallel")
    fleet = cluster(128, "DGX_H100", "InfiniBand_NDR")
    by_hand = DistributedModel().solve("Llama3_405B", fleet, sequence_parallel=True, overlap_comm=True, **wanted)
    assert config.solve(fleet).si.step_latency_total == by_hand.si.step_latency_total


@needs_toml
def test_degrees_of_torchtitan_tell_the_gpus_and_the_pipeline_its_micro_batches():
    text = TITAN.replace("shard_degree = -1", "shard_degree = 4").replace(
        "[activation", "pipeline_parallel_degree = 2\npipeline_parallel_microbatch_size = 1\n[activation"
    )
    config = training_question(text)
    assert config.gpus == 4 * 8 * 2
    assert (config.arguments["microbatch_count"], config.microbatch_size, config.arguments["batch_size"]) == (2, 1, 8)
    with pytest.raises(InvalidPlanError, match="64 GPUs, not the 128 passed"):
        training_question(text, gpus=128)


@needs_toml
def test_unknown_flavors_are_told_the_nearest():
    with pytest.raises(UnknownEntryError, match="no flavor of llama3 named '450B'; did you mean 405B"):
        training_question(TITAN.replace("405B", "450B"), gpus=128)
    with pytest.raises(UnknownEntryError, match="did you mean llama3"):
        training_question(TITAN.replace("llama3", "lama3"), gpus=128)


DEEPSPEED = {
    "train_batch_size": 512,
    "gradient_accumulation_steps": 4,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 3, "overlap_comm": True, "offload_optimizer": {"device": "cpu", "pin_memory": True},
                          "reduce_bucket_size": 5e8},
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
    "gradient_clipping": 1.0,
}  # fmt: skip


def test_zero_3_of_deepspeed(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(DEEPSPEED))
    config = training_question(path, model="Llama3_8B", seq_len=4096, gpus=64)
    # the documentation of DeepSpeed: batch = micro-batch x accumulation x GPUs
    assert config.microbatch_size == 512 // (4 * 64)
    assert (config.arguments["zero_stage"], config.arguments["gradient_accumulation_steps"]) == (3, 4)
    assert config.not_understood == ()
    assert config.arguments["offload"] == "cpu"
    fleet = cluster(64, "DGX_H100", "InfiniBand_NDR")
    by_hand = DistributedModel().solve("Llama3_8B", fleet, batch_size=512, precision="bf16", microbatch_count=4,
                                       zero_stage=3, seq_len=4096, overlap_comm=True, optimizer="adamw", offload="cpu")  # fmt: skip
    assert config.solve(fleet).si.step_latency_total == by_hand.si.step_latency_total


def test_what_a_file_leaves_open_is_asked_for_all_at_once():
    with pytest.raises(InvalidInputError) as caught:
        training_question({"zero_optimization": {"stage": 2}})
    for part in ("pass model=", "pass seq_len=", "pass microbatch_size="):
        assert part in str(caught.value)
    with pytest.raises(InvalidInputError, match="pass gpus=64 or a multiple"):
        training_question(MEGATRON.split("torchrun")[0].replace("#SBATCH --nodes=128", "").replace("WORLD_SIZE", "W")
                          + "x ${GPT_MODEL_ARGS[@]} --tensor-model-parallel-size 8 --pipeline-model-parallel-size 8")  # fmt: skip


SMALL = "--num-layers 4 --hidden-size 64 --num-attention-heads 4 --seq-length 128 --vocab-size 1000"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("--global-batch-size 1000 --micro-batch-size 3", InvalidPlanError, "nearby: 984 or 1008"),
        ("--tensor-model-parallel-size 3", InvalidPlanError, "pass gpus=6 or 9"),
        ("--expert-model-parallel-size 3", InvalidPlanError, "nearby: 2 or 4|nearby: 1, 2 or 4"),
        ("--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 3", InvalidPlanError, "try 1 or 2"),
        ("--micro-batch-size -4", InvalidInputError, "micro-batch-size: expected a whole number of at least 1"),
        ("--micro-batch-size nan", InvalidInputError, "expected a whole number"),
        ("--micro-batch-size 1e400", InvalidInputError, "expected a whole number"),
        ("--micro-batch-size $MBS", InvalidInputError, "which the file does not define"),
        ("--recompute-granularity ful", InvalidInputError, "did you mean full"),
        ("--num-experts 8 --moe-layer-freq [0]*3", InvalidInputError, "a list of 4 zeros and ones"),
    ],
)
def test_contradictions_are_one_line_with_the_nearest_valid(text, error, message):
    with pytest.raises(error, match=message) as caught:
        training_question(f"{SMALL} {text}", gpus=8)
    assert "\n" not in str(caught.value)


def test_sizes_of_mixtral_and_deepseek_v3_give_their_published_parameters():
    mixtral = training_question(
        "--num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 --group-query-attention "
        "--num-query-groups 8 --num-experts 8 --moe-router-topk 2 --swiglu --normalization RMSNorm --disable-bias-linear "
        "--untie-embeddings-and-output-weights --position-embedding-type rope --seq-length 4096 --padded-vocab-size 32000",
        gpus=8,
    )
    assert mixtral.model.si.parameters == pytest.approx(46.7e9, rel=2e-3)  # Jiang et al., arXiv:2401.04088: 47B
    assert mixtral.model.si.active_parameters == pytest.approx(12.9e9, rel=5e-3)  # and 13B active
    deepseek = training_question(
        "--num-layers 61 --hidden-size 7168 --ffn-hidden-size 18432 --num-attention-heads 128 --multi-latent-attention "
        "--kv-lora-rank 512 --q-lora-rank 1536 --qk-head-dim 128 --qk-pos-emb-head-dim 64 --v-head-dim 128 "
        "--num-experts 256 --moe-router-topk 8 --moe-ffn-hidden-size 2048 --moe-shared-expert-intermediate-size 2048 "
        "--moe-layer-freq '([0]*3 + [1]*58)' --swiglu --normalization RMSNorm --disable-bias-linear --seq-length 4096 "
        "--untie-embeddings-and-output-weights --position-embedding-type rope --padded-vocab-size 129280",
        gpus=8,
    )
    assert deepseek.model.si.parameters == pytest.approx(671e9, rel=2e-3)  # arXiv:2412.19437: 671B, 37B active
    assert deepseek.model.si.active_parameters == pytest.approx(37e9, rel=0.02)


def test_without_a_vocabulary_the_catalog_is_asked():
    llama = ("--num-layers 80 --hidden-size 8192 --ffn-hidden-size 28672 --num-attention-heads 64 --num-query-groups 8 "
             "--group-query-attention --swiglu --untie-embeddings-and-output-weights --seq-length 4096 ")  # fmt: skip
    with pytest.raises(MissingFactError, match="pass vocab= or model="):
        training_question(llama, gpus=8)
    assert training_question(llama, gpus=8, model="Llama3_70B").model is Models.Llama3_70B


@given(
    tp=st.sampled_from([1, 2, 4]), pp=st.sampled_from([1, 2]), cp=st.sampled_from([1, 2]), data=st.integers(1, 40),
    micro=st.integers(1, 4), count=st.integers(1, 30),
)  # fmt: skip
def test_ranks_and_sequences_are_conserved(tp, pp, cp, data, micro, count):
    gpus, batch = tp * pp * cp * data, micro * data * count
    config = training_question(
        f"{SMALL} --tensor-model-parallel-size {tp} --pipeline-model-parallel-size={pp} --context-parallel-size {cp} "
        f"--micro-batch-size {micro} --global-batch-size {batch}",
        gpus=gpus,
    )
    found = config.arguments
    assert found["tp_size"] * found["pp_size"] * found["cp_size"] * data == config.gpus
    assert found["microbatch_count"] * config.microbatch_size * data == found["batch_size"] == batch


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=300),
        st.lists(st.sampled_from(["--num-layers", "--bf16", "8", "$A", "${A", "A=(", ")", "'", '"', "\\\n", "\n", "$((8*", "))",
                                  "[model]", "name = 1", "{", "}", '"bf16"', ":", "model:", "- ", "${a:-$B}", "A=$A$A", "#"]),
                 max_size=60).map(" ".join),
    ),
    kind=st.sampled_from([None, "megatron", "nemo", "deepspeed", "torchtitan"]),
)  # fmt: skip
def test_no_text_is_worse_than_one_line(text, kind):
    told = ""
    try:
        training_question(text + "\n", kind=kind, gpus=8, model="Llama3_8B", seq_len=128)
    except MLSysimError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "A=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" + "A=$A$A\n" * 40,
        "--x " * 300_000,
        "$((" * 10_000 + "\n",
        "{" * 5000 + "\n",
        '{"a":' * 900 + "1" + "}" * 900,
        "a: [" * 2000 + "\n",
        "[a]\nb = " + "[" * 3000,
        "a: &x 1\nb: *x\n",
        "x" * (1 << 20) + "\n\n",
    ],
    ids=[
        "growing variable",
        "many flags",
        "open sums",
        "open braces",
        "deep json",
        "deep yaml",
        "deep toml",
        "alias",
        "large",
    ],
)
def test_hostile_texts_are_refused_in_one_line(text):
    with pytest.raises(MLSysimError) as caught:
        training_question(text, gpus=8)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("source", [Path("/no/such/file"), "no-such\0file", b"--bf16", 7, ["--bf16", 3], Path("/")])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(InvalidInputError):
        training_question(source, gpus=8)


@pytest.mark.parametrize(
    "given_", [{"gpus": -8}, {"gpus": 1.5}, {"seq_len": float("nan")}, {"kind": "megatorn"}, {"model": "nope"}]
)
def test_what_is_passed_is_checked(given_):
    with pytest.raises(MLSysimError):
        training_question(SMALL, **{"gpus": 8, **given_})


def test_the_command_line_reads_it_and_options_count_more(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(DEEPSPEED))
    words = ["train", "Llama3_8B", "--config", str(path), "--seq-len", "4096", "--gpus", "64"]
    config = training_question(path, model="Llama3_8B", seq_len=4096, gpus=64)
    fleet = cluster(64, "DGX_H100", "InfiniBand_NDR")
    for more, changes in (([], {}), (["--recompute", "full"], {"activation_recomputation": "full"})):
        step = TrainingStepModel().solve(config.model, fleet, **{**config.step_arguments, **changes})
        out = CliRunner().invoke(app, [*words, *more, "-o", "json"])
        assert out.exit_code == (0 if step.feasible else 4), out.output
        assert json.loads(out.stdout)["step_s"] == pytest.approx(step.si.step_latency_total, rel=1e-9)
        assert step.si.optimizer_on_host > 0
    assert isinstance(CliRunner().invoke(app, ["train"]).exception, InvalidInputError)


def test_offloaded_weights_and_schedules_of_later_stacks():
    both = DEEPSPEED | {
        "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}, "offload_param": {"device": "cpu"}}
    }
    config = training_question(both, model="Llama3_8B", seq_len=4096, gpus=64)
    assert (config.step_arguments["offload"], config.step_arguments["offload_param"]) == ("nvme", "cpu")
    early = training_question(
        both | {"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}},
        model="Llama3_8B",
        seq_len=4096,
        gpus=64,
    )
    assert early.not_understood == ("zero_optimization.offload_param.device = cpu (kept on the GPU here)",)
    megatron = (
        MEGATRON.replace("--bf16", "--bf16 --optimizer-cpu-offload")
        if "--bf16" in MEGATRON
        else MEGATRON + " --optimizer-cpu-offload"
    )
    assert "optimizer-cpu-offload" not in " ".join(training_question(megatron, gpus=1024).not_understood)


@pytest.mark.parametrize(("word", "schedule"), [("ZBVZeroBubble", "zero-bubble"), ("DualPipeV", "dualpipe")])
def test_split_backward_schedules_of_torchtitan(word, schedule):
    config = training_question(
        {"model": {"name": "llama3", "flavor": "8B"}, "training": {"local_batch_size": 8, "seq_len": 4096},
         "parallelism": {"pipeline_parallel_degree": 2, "pipeline_parallel_schedule": word}}, kind="torchtitan", gpus=16
    )  # fmt: skip
    assert config.arguments["schedule"] == schedule
    assert any(word.lower() in remark for remark in config.remarks)


def test_the_command_line_asks_in_its_own_words(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(DEEPSPEED))
    out = CliRunner().invoke(app, ["train", "--config", str(path)])
    said = str(out.exception)
    assert "name a model of the zoo before --config" in said
    assert "pass --seq-len" in said
    assert "=" not in said
