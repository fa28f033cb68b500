"""Operators of training: their work is that of the model, whatever the split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim import Models
from mlsysim.workloads.operators import total_flops
from mlsysim.workloads.training import work_of
from mlsysim.workloads.training_operators import (
    BACKWARD,
    FORWARD,
    WEIGHTS,
    Share,
    Style,
    head_operators,
    layer_operators,
)


def of(operators, *phases):
    return total_flops(o for o in operators if o.phase in phases)


@pytest.mark.parametrize("name", ["Llama3_8B", "Llama3_70B", "GPT3", "Mistral_7B", "Mixtral_8x7B"])
def test_forward_products_and_attention_are_the_work_of_the_model(name):
    model, length = Models[name], 4096.0
    share = Share(1.0, length)
    work = work_of(model, length)
    forward = of(layer_operators(model, share, Style()), FORWARD) + of(head_operators(model, share, Style()), FORWARD)
    # the catalog counts the embedding as parameters; a look-up does not multiply
    own = work.linear + work.routed + work.attention
    looked_up = 2 * length * work.embedding * (0.0 if work.tied else 1.0)
    assert forward == pytest.approx(own - looked_up, rel=0.01)


@given(tp=st.sampled_from([1.0, 2.0, 4.0, 8.0]), cp=st.sampled_from([1.0, 2.0, 4.0]))
def test_ranks_share_the_products_evenly(tp, cp):
    model = Models["Llama3_70B"]
    whole, part = (layer_operators(model, Share(1.0, 8192.0, *ranks), Style()) for ranks in ((1.0, 1.0), (tp, cp)))
    for phase in (FORWARD, WEIGHTS):
        products = [[o for o in ops if o.kind == "gemm"] for ops in (whole, part)]
        assert of(products[1], phase) == pytest.approx(of(products[0], phase) / (tp * cp))


def test_backward_products_are_twice_the_forward_ones_and_attention_two_and_a_half():
    operators = layer_operators(Models["Llama3_8B"], Share(1.0, 4096.0), Style())
    products = [o for o in operators if o.kind == "gemm"]
    scores = [o for o in operators if o.kind == "attention_context"]
    assert of(products, BACKWARD, WEIGHTS) == pytest.approx(2 * of(products, FORWARD))
    assert of(scores, BACKWARD) == pytest.approx(2.5 * of(scores, FORWARD))


def test_frozen_weights_have_no_gradients_but_their_adapters_have():
    operators = layer_operators(Models["Llama3_8B"], Share(1.0, 4096.0), Style(adapter_rank=16.0))
    weights = [o for o in operators if o.phase == WEIGHTS]
    assert {o.name for o in weights} == {"adapter"}
    assert {o.precision for o in weights} == {"bf16"}


def test_collectives_carry_the_activations_of_korthikanti_2022_section_4():
    # arXiv:2205.05198, figure 5: two all-gathers and two reduce-scatters of s b h values a layer, each way
    operators = layer_operators(Models["Llama3_8B"], Share(2.0, 4096.0, 4.0), Style())
    tensor = [o for o in operators if o.name == "tensor"]
    assert {(o.collective, o.phase) for o in tensor} == {
        (k, p) for k in ("all_gather", "reduce_scatter") for p in (FORWARD, BACKWARD)
    }
    assert all(o.message == 2 * 2 * 4096 * 4096 and o.count == 2 * 32 for o in tensor)
