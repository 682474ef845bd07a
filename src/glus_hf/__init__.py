"""Referring video segmentation for Hugging Face: a video and an expression in, the pixels of what it means out.

Importing this package is cheap: the public names load on first use, and `transformers` learns about GLUS (its Auto
classes and the `referring-video-segmentation` pipeline) when those parts of it are imported.
"""

from __future__ import annotations

import importlib

from . import moved_modules, registration


__version__ = "0.1.0.dev0"

_EXPORTS = {
    "AutoModelForReferringVideoSegmentation": "models.auto",
    "ChatUniViConfig": "models.glus_selector.configuration_chat_univi",
    "ChatUniViForConditionalGeneration": "models.glus_selector.modeling_chat_univi",
    "ChatUniViModel": "models.glus_selector.modeling_chat_univi",
    "ChatUniViProcessor": "models.glus_selector.processing_chat_univi",
    "CheckpointError": "errors",
    "ClipDataset": "training.samples.clip_dataset",
    "GLEECollator": "training.samples.glee_collator",
    "GLEEConfig": "models.glee.configuration_glee",
    "GLEEForVideoSegmentation": "models.glee.modeling_glee",
    "GLEEImageProcessor": "models.glee.image_processing_glee",
    "GLEEInferenceSession": "models.glee.inference_glee",
    "GLEEModel": "models.glee.modeling_glee",
    "GLEEProcessor": "models.glee.processing_glee",
    "GLEESegmentationOutput": "models.glee.modeling_glee",
    "GLEETrainer": "training.glee_trainer",
    "GLEETrainingArguments": "training.glee_arguments",
    "GLEEVideoSegmentationOutput": "models.glee.inference_glee",
    "GLUSCollator": "training.samples.collators",
    "GLUSConfig": "models.glus.configuration_glus",
    "GLUSForVideoSegmentation": "models.glus.modeling_glus",
    "GLUSImageProcessor": "models.glus.image_processing_glus",
    "GLUSInferenceSession": "models.glus.inference_glus",
    "GLUSModel": "models.glus.modeling_glus",
    "GLUSProcessor": "models.glus.processing_glus",
    "GLUSSegmentationOutput": "models.glus.modeling_glus",
    "GLUSSelector": "models.glus_selector.modeling_glus_selector",
    "GLUSSelectorConfig": "models.glus_selector.configuration_glus_selector",
    "GLUSSelectorOutput": "models.glus_selector.modeling_glus_selector",
    "GLUSSelectorProcessor": "models.glus_selector.processing_glus_selector",
    "GLUSSelectorSession": "models.glus_selector.inference_glus_selector",
    "GLUSSelectorTrainer": "training.selector_trainer",
    "GLUSSelectorTrainingArguments": "training.selector_arguments",
    "GLUSTrainer": "training.trainer",
    "GLUSTrainingArguments": "training.arguments",
    "GLUSVLMConfig": "models.glus_vlm.configuration_glus_vlm",
    "GLUSVLMForVideoSegmentation": "models.glus_vlm.modeling_glus_vlm",
    "GLUSVLMInferenceSession": "models.glus_vlm.inference_glus_vlm",
    "GLUSVLMProcessor": "models.glus_vlm.processing_glus_vlm",
    "GLUSVideoSegmentationOutput": "models.propagation",
    "GroundedConfig": "models.grounded.configuration_grounded",
    "GroundedForVideoSegmentation": "models.grounded.modeling_grounded",
    "GroundedInferenceSession": "models.grounded.inference_grounded",
    "GroundedProcessor": "models.grounded.processing_grounded",
    "InstanceDataset": "training.samples.instance_dataset",
    "LargeScaleJitter": "training.samples.image_augmentation",
    "MixtureDataset": "training.samples.mixture",
    "RatioMixture": "training.samples.ratio_mixture",
    "ReferringVideoDataset": "training.samples.referring_video_dataset",
    "ReferringVideoSegmentationPipeline": "pipelines.referring_video_segmentation",
    "ResumableSampler": "training.samples.resumable_sampler",
    "Sam3PhraseConfig": "models.sam3_video.configuration_sam3_video",
    "Sam3PhraseForVideoSegmentation": "models.sam3_video.modeling_sam3_video",
    "Sam3PhraseInferenceSession": "models.sam3_video.inference_sam3_video",
    "Sam3PhraseProcessor": "models.sam3_video.processing_sam3_video",
    "ShortestEdgeAugmentation": "training.samples.image_augmentation",
    "UserError": "errors",
    "Video": "media.video",
    "VideoError": "errors",
    "VideoSegmentationOutput": "models.sessions",
    "VideoSession": "models.sessions",
    "load_object_dataset": "data.objects.load_objects",
    "load_referring_dataset": "data.load_dataset",
    "load_video": "media.video",
    "pipeline": "pipelines.factory",
    "resolve_checkpoint": "hub",
}
__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'glus_hf' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)


moved_modules.keep_old_paths()
registration.register_lazily()
