"""Kinds and depths of tensors: names as fourteen families of models give them."""

import pytest

from kolmo.report.module_kinds import KINDS, depth_of, kind_of

MATRIX, VECTOR, KERNEL = (64, 64), (64,), (64, 32, 3, 3)

FAMILIES = {
    "BERT": {
        "bert.embeddings.word_embeddings.weight": "embedding",
        "bert.embeddings.token_type_embeddings.weight": "embedding",
        "bert.embeddings.LayerNorm.weight": "norm",
        "bert.embeddings.LayerNorm.beta": "norm",
        "bert.encoder.layer.0.attention.self.query.weight": "q",
        "bert.encoder.layer.0.attention.self.query.bias": "bias",
        "encoder.layer.10.attention.self.key.weight": "k",
        "encoder.layer.10.attention.self.value.weight": "v",
        "encoder.layer.10.attention.output.dense.weight": "o",
        "encoder.layer.10.attention.output.LayerNorm.weight": "norm",
        "encoder.layer.10.intermediate.dense.weight": "mlp",
        "encoder.layer.10.output.dense.weight": "mlp",
        "encoder.layer.10.output.dense.bias": "bias",
        "encoder.layer.10.output.LayerNorm.bias": "norm",
        "pooler.dense.weight": "head",
        "cls.predictions.transform.dense.weight": "head",
        "cls.predictions.transform.LayerNorm.weight": "norm",
    },
    "GPT-2": {
        "transformer.wte.weight": "embedding",
        "wpe.weight": "embedding",
        "h.0.ln_1.weight": "norm",
        "h.0.attn.c_attn.weight": "qkv",
        "h.0.attn.c_proj.weight": "o",
        "h.0.mlp.c_fc.weight": "mlp",
        "h.0.mlp.c_proj.weight": "mlp",
        "ln_f.bias": "norm",
        "lm_head.weight": "head",
    },
    "Llama": {
        "model.embed_tokens.weight": "embedding",
        "model.layers.0.self_attn.q_proj.weight": "q",
        "model.layers.0.self_attn.k_proj.weight": "k",
        "model.layers.0.self_attn.v_proj.bias": "bias",
        "model.layers.0.self_attn.o_proj.weight": "o",
        "model.layers.0.self_attn.q_norm.weight": "norm",
        "model.layers.0.mlp.gate_proj.weight": "mlp",
        "model.layers.0.mlp.down_proj.weight": "mlp",
        "model.layers.0.input_layernorm.weight": "norm",
        "model.layers.0.post_attention_layernorm.weight": "norm",
        "model.layers.0.block_sparse_moe.experts.3.w1.weight": "mlp",
        "model.layers.0.self_attn.kv_a_proj_with_mqa.weight": "qkv",
        "model.norm.weight": "norm",
        "layers.0.attention.wq.weight": "q",
        "layers.0.attention.wo.weight": "o",
        "layers.0.feed_forward.w3.weight": "mlp",
        "tok_embeddings.weight": "embedding",
        "output.weight": "head",
    },
    "T5": {
        "shared.weight": "embedding",
        "encoder.block.0.layer.0.SelfAttention.q.weight": "q",
        "encoder.block.0.layer.0.SelfAttention.o.weight": "o",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "embedding",
        "encoder.block.0.layer.0.layer_norm.weight": "norm",
        "decoder.block.11.layer.1.EncDecAttention.v.weight": "v",
        "decoder.block.11.layer.2.DenseReluDense.wi_0.weight": "mlp",
        "decoder.block.11.layer.2.DenseReluDense.wo.weight": "mlp",
        "decoder.final_layer_norm.weight": "norm",
    },
    "ViT (transformers)": {
        "vit.embeddings.cls_token": "embedding",
        "vit.embeddings.position_embeddings": "embedding",
        "vit.embeddings.patch_embeddings.projection.weight": "embedding",
        "vit.encoder.layer.0.attention.attention.query.weight": "q",
        "vit.encoder.layer.0.attention.output.dense.weight": "o",
        "vit.encoder.layer.0.layernorm_before.weight": "norm",
        "vit.encoder.layer.0.intermediate.dense.weight": "mlp",
        "classifier.weight": "head",
    },
    "ViT (timm)": {
        "cls_token": "embedding",
        "pos_embed": "embedding",
        "patch_embed.proj.weight": "embedding",
        "blocks.0.norm1.weight": "norm",
        "blocks.0.attn.qkv.weight": "qkv",
        "blocks.0.attn.qkv.bias": "bias",
        "blocks.0.attn.proj.weight": "o",
        "blocks.0.mlp.fc1.weight": "mlp",
        "head.weight": "head",
        "head.bias": "bias",
    },
    "torchvision": {
        "conv1.weight": "conv",
        "bn1.weight": "norm",
        "bn1.running_mean": "norm",
        "layer1.0.conv1.weight": "conv",
        "layer1.0.downsample.0.weight": "conv",
        "layer1.0.downsample.1.weight": "norm",
        "fc.weight": "head",
        "features.0.weight": "conv",
        "features.0.0.weight": "conv",
        "features.0.1.weight": "norm",
        "classifier.6.weight": "head",
        "encoder.layers.encoder_layer_0.self_attention.in_proj_weight": "qkv",
        "encoder.layers.encoder_layer_0.self_attention.in_proj_bias": "bias",
        "encoder.layers.encoder_layer_0.self_attention.out_proj.weight": "o",
        "encoder.layers.encoder_layer_0.mlp.linear_1.weight": "mlp",
        "features.1.0.attn.relative_position_bias_table": "embedding",
    },
    "Keras": {
        "conv2d/kernel:0": "conv",
        "conv2d_1/bias:0": "bias",
        "block1_conv1/kernel": "conv",
        "batch_normalization/gamma:0": "norm",
        "batch_normalization_3/moving_variance:0": "norm",
        "dense_1/kernel:0": "mlp",
        "embedding/embeddings:0": "embedding",
        "lstm/lstm_cell/recurrent_kernel:0": "recurrent",
        "gru_1/kernel": "recurrent",
        "multi_head_attention/query/kernel": "q",
        "transformer_layer_0/self_attention/attention_output/kernel": "o",
        "predictions/kernel:0": "head",
    },
    "Flax": {
        "params/Dense_0/kernel": "mlp",
        "params/Conv_0/kernel": "conv",
        "params/BatchNorm_0/scale": "norm",
        "params/LayerNorm_2/bias": "norm",
        "params/Embed_0/embedding": "embedding",
        "encoder/layer/3/attention/self/value/kernel": "v",
        "encoder/layer/3/output/dense/kernel": "mlp",
    },
    "Whisper": {
        "encoder.conv1.weight": "conv",
        "encoder.positional_embedding": "embedding",
        "encoder.blocks.0.attn.query.weight": "q",
        "encoder.blocks.0.attn.out.weight": "o",
        "encoder.blocks.0.attn_ln.weight": "norm",
        "encoder.blocks.0.mlp.0.weight": "mlp",
        "decoder.blocks.3.cross_attn.key.weight": "k",
        "decoder.token_embedding.weight": "embedding",
        "model.encoder.layers.0.fc1.weight": "mlp",
        "model.decoder.layers.0.encoder_attn.out_proj.weight": "o",
        "model.decoder.layers.0.encoder_attn_layer_norm.weight": "norm",
        "proj_out.weight": "head",
    },
    "diffusers": {
        "conv_in.weight": "conv",
        "time_embedding.linear_1.weight": "embedding",
        "down_blocks.0.resnets.0.norm1.weight": "norm",
        "down_blocks.0.resnets.0.conv1.weight": "conv",
        "down_blocks.0.resnets.0.time_emb_proj.bias": "bias",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": "q",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight": "o",
        "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.weight": "mlp",
        "down_blocks.0.downsamplers.0.conv.weight": "conv",
        "mid_block.attentions.0.norm.weight": "norm",
        "conv_norm_out.weight": "norm",
        "conv_out.weight": "conv",
    },
    "recurrent": {
        "lstm.weight_ih_l0": "recurrent",
        "lstm.weight_hh_l1_reverse": "recurrent",
        "rnn.bias_hh_l0": "bias",
        "decoder.rnn.weight_ih": "recurrent",
        "linear.weight": "head",
    },
    "GGUF": {
        "token_embd.weight": "embedding",
        "blk.0.attn_q.weight": "q",
        "blk.0.attn_k.weight": "k",
        "blk.0.attn_output.weight": "o",
        "blk.0.attn_norm.weight": "norm",
        "blk.0.ffn_gate.weight": "mlp",
        "blk.0.ffn_norm.weight": "norm",
        "output_norm.weight": "norm",
        "output.weight": "head",
    },
    "CLIP": {
        "visual.conv1.weight": "conv",
        "visual.transformer.resblocks.0.attn.in_proj_weight": "qkv",
        "visual.transformer.resblocks.0.attn.out_proj.weight": "o",
        "visual.transformer.resblocks.0.mlp.c_fc.weight": "mlp",
        "visual.transformer.resblocks.0.ln_1.weight": "norm",
        "token_embedding.weight": "embedding",
        "logit_scale": "other",
    },
    "GPT-NeoX, BLOOM, DistilBERT": {
        "gpt_neox.embed_in.weight": "embedding",
        "gpt_neox.layers.0.attention.query_key_value.weight": "qkv",
        "gpt_neox.layers.0.attention.dense.weight": "o",
        "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "mlp",
        "embed_out.weight": "head",
        "word_embeddings_layernorm.weight": "norm",
        "h.0.self_attention.dense.weight": "o",
        "distilbert.transformer.layer.0.attention.q_lin.weight": "q",
        "distilbert.transformer.layer.0.attention.out_lin.weight": "o",
        "distilbert.transformer.layer.0.sa_layer_norm.weight": "norm",
        "distilbert.transformer.layer.0.ffn.lin1.weight": "mlp",
        "pre_classifier.weight": "head",
    },
    "plain": {
        "layers.0.weight": "mlp",
        "layers.0.bias": "bias",
        "net.2.weight": "mlp",
        "fc1.weight": "mlp",
        "w": "other",
        "": "other",
    },
}

CONVOLUTIONS = {"conv", "embedding"}


def sides_of(name, kind):
    """The shape that such a tensor has."""
    is_vector = name.rpartition(".")[2] == "bias" or kind in ("norm", "bias")
    if is_vector:
        return VECTOR
    return KERNEL if kind == "conv" or "patch" in name else MATRIX


@pytest.mark.parametrize("family", FAMILIES)
def test_kinds_of_a_family(family):
    wanted = FAMILIES[family]
    assert {name: kind_of(name, sides_of(name, kind)) for name, kind in wanted.items()} == wanted
    assert set(wanted.values()) <= set(KINDS)


def test_what_wrappers_put_before_a_name_changes_nothing():
    name = "encoder.layer.3.attention.self.query.weight"
    assert kind_of(f"module._orig_mod.{name}", MATRIX) == kind_of(name, MATRIX) == "q"
    assert depth_of(f"module.{name}") == depth_of(name) == 3


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("bert.encoder.layer.11.attention.self.query.weight", 11),
        ("encoder.block.3.layer.1.DenseReluDense.wi.weight", 3),
        ("model.layers.0.mlp.experts.7.w1.weight", 0),
        ("layer4.1.conv2.weight", 4),
        ("encoder.layers.encoder_layer_5.mlp.0.weight", 5),
        ("block3_conv2/kernel:0", 3),
        ("blk.31.attn_q.weight", 31),
        ("dense_2/kernel", 2),
        ("lstm.weight_ih_l0", 0),
        ("layers.4.weight", 4),
        ("conv2d/kernel", None),
        ("embeddings.word_embeddings.weight", None),
        ("w", None),
        ("", None),
    ],
)
def test_depth_is_the_number_of_the_layer(name, depth):
    assert depth_of(name) == depth
