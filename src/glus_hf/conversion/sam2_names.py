"""Names of SAM-2's weights: Meta's -> those of transformers' `Sam2VideoModel`."""

from __future__ import annotations

from .name_rules import ATTENTION, THREE_LAYERS, TWO_LAYERS, each, same


IMAGE_ENCODER_NAMES = {
    "image_encoder.trunk.pos_embed": "vision_encoder.backbone.pos_embed",
    "image_encoder.trunk.pos_embed_window": "vision_encoder.backbone.pos_embed_window",
    "image_encoder.trunk.patch_embed.proj.{p}": "vision_encoder.backbone.patch_embed.projection.{p}",
    "image_encoder.trunk.blocks.{i}.norm{j}.{p}": "vision_encoder.backbone.blocks.{i}.layer_norm{j}.{p}",
    **each(
        "image_encoder.trunk.blocks.{i}.@.{p}",
        "vision_encoder.backbone.blocks.{i}.@.{p}",
        same("attn.qkv", "attn.proj", "proj"),
    ),
    **each("image_encoder.trunk.blocks.{i}.mlp.@.{p}", "vision_encoder.backbone.blocks.{i}.mlp.@.{p}", TWO_LAYERS),
    "image_encoder.neck.convs.{i}.conv.{p}": "vision_encoder.neck.convs.{i}.{p}",
}

MEMORY_NAMES = {
    "memory_attention.norm.{p}": "memory_attention.layer_norm.{p}",
    "memory_attention.layers.{i}.norm{j}.{p}": "memory_attention.layers.{i}.layer_norm{j}.{p}",
    "memory_attention.layers.{i}.linear{j}.{p}": "memory_attention.layers.{i}.linear{j}.{p}",
    **each("memory_attention.layers.{i}.self_attn.@.{p}", "memory_attention.layers.{i}.self_attn.@.{p}", ATTENTION),
    **each(
        "memory_attention.layers.{i}.cross_attn_image.@.{p}",
        "memory_attention.layers.{i}.cross_attn_image.@.{p}",
        ATTENTION,
    ),
    "memory_encoder.pix_feat_proj.{p}": "memory_encoder.feature_projection.{p}",
    "memory_encoder.out_proj.{p}": "memory_encoder.projection.{p}",
    **each(
        "memory_encoder.mask_downsampler.encoder.@.{p}",
        "memory_encoder.mask_downsampler.@.{p}",
        (
            *((f"{3 * layer}", f"layers.{layer}.conv") for layer in range(4)),
            *((f"{3 * layer + 1}", f"layers.{layer}.layer_norm") for layer in range(4)),
            ("12", "final_conv"),
        ),
    ),
    "memory_encoder.fuser.layers.{i}.gamma": "memory_encoder.memory_fuser.layers.{i}.scale",
    "memory_encoder.fuser.layers.{i}.dwconv.{p}": "memory_encoder.memory_fuser.layers.{i}.depthwise_conv.{p}",
    "memory_encoder.fuser.layers.{i}.norm.{p}": "memory_encoder.memory_fuser.layers.{i}.layer_norm.{p}",
    "memory_encoder.fuser.layers.{i}.pwconv{j}.{p}": "memory_encoder.memory_fuser.layers.{i}.pointwise_conv{j}.{p}",
}

PROMPT_ENCODER_NAMES = {
    "sam_prompt_encoder.not_a_point_embed.weight": "prompt_encoder.not_a_point_embed.weight",
    "sam_prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask_embed.weight",
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
        "prompt_encoder.shared_embedding.positional_embedding"
    ),
    **each(
        "sam_prompt_encoder.mask_downscaling.@.{p}",
        "prompt_encoder.mask_embed.@.{p}",
        (("0", "conv1"), ("1", "layer_norm1"), ("3", "conv2"), ("4", "layer_norm2"), ("6", "conv3")),
    ),
}

MASK_DECODER_NAMES = {
    **each(
        "sam_mask_decoder.@",
        "mask_decoder.@",
        same("iou_token.weight", "mask_tokens.weight", "obj_score_token.weight"),
    ),
    "sam_mask_decoder.conv_s{i}.{p}": "mask_decoder.conv_s{i}.{p}",
    **each(
        "sam_mask_decoder.output_upscaling.@.{p}",
        "mask_decoder.@.{p}",
        (("0", "upscale_conv1"), ("1", "upscale_layer_norm"), ("3", "upscale_conv2")),
    ),
    **each(
        "sam_mask_decoder.output_hypernetworks_mlps.{i}.@.{p}",
        "mask_decoder.output_hypernetworks_mlps.{i}.@.{p}",
        THREE_LAYERS,
    ),
    **each("sam_mask_decoder.iou_prediction_head.@.{p}", "mask_decoder.iou_prediction_head.@.{p}", THREE_LAYERS),
    **each("sam_mask_decoder.pred_obj_score_head.@.{p}", "mask_decoder.pred_obj_score_head.@.{p}", THREE_LAYERS),
    "sam_mask_decoder.transformer.norm_final_attn.{p}": "mask_decoder.transformer.layer_norm_final_attn.{p}",
    "sam_mask_decoder.transformer.layers.{i}.norm{j}.{p}": "mask_decoder.transformer.layers.{i}.layer_norm{j}.{p}",
    **each(
        "sam_mask_decoder.transformer.layers.{i}.mlp.@.{p}",
        "mask_decoder.transformer.layers.{i}.mlp.@.{p}",
        TWO_LAYERS,
    ),
    **{
        pattern: target
        for attention in (
            "layers.{i}.self_attn",
            "layers.{i}.cross_attn_token_to_image",
            "layers.{i}.cross_attn_image_to_token",
            "final_attn_token_to_image",
        )
        for pattern, target in each(
            f"sam_mask_decoder.transformer.{attention}.@.{{p}}",
            f"mask_decoder.transformer.{attention}.@.{{p}}",
            ATTENTION,
        ).items()
    },
}

SAM2_NAMES = {
    # only in SAM 2.1
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "obj_ptr_tpos_proj.{p}": "temporal_positional_encoding_projection_layer.{p}",
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "mask_downsample.{p}": "mask_downsample.{p}",
    **each("obj_ptr_proj.@.{p}", "object_pointer_proj.@.{p}", THREE_LAYERS),
    **IMAGE_ENCODER_NAMES,
    **MEMORY_NAMES,
    **PROMPT_ENCODER_NAMES,
    **MASK_DECODER_NAMES,
}

__all__ = ["SAM2_NAMES"]
