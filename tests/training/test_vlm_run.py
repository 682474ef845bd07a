"""The trainer of GLUS on a pair of a vision-language model and a mask model: LoRA, [SEG] alone, export, resume."""

import pytest
import torch

from glus_hf import GLUSTrainer, GLUSTrainingArguments, GLUSVLMForVideoSegmentation, GLUSVLMProcessor, UserError
from glus_hf.training.runs.train_from_file import train_from_file
from glus_hf.training.trainable_parameters import prepare_model, trainable_parameters
from tests.models.glus_vlm.small_glus_vlm import small_model, small_processor
from tests.training.small_training import QUICK, history, tiny_run, trained, videos


FRAMES = {"num_context_frames": 2, "num_query_frames": 3}
SEG_ONLY = {"embedding_training": "new_tokens", "contrastive_loss_weight": 0.0}


def saved_pair(folder, vlm="qwen2_5_vl", mask="sam2_video") -> str:
    small_model(vlm, mask, answers=False).save_pretrained(folder)
    small_processor(vlm, mask).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("vlm", ["qwen2_5_vl", "internvl"])  # with a head of its own, and with one tied to embeddings
def test_a_step_trains_what_it_says_and_the_export_is_the_adapter(tmp_path, vlm):
    base = saved_pair(tmp_path / "base", vlm)
    model = GLUSVLMForVideoSegmentation.from_pretrained(base)
    args = GLUSTrainingArguments(str(tmp_path / "run"), **{**QUICK, **SEG_ONLY, "learning_rate": 1e-2})
    trainer = GLUSTrainer(
        model, args, train_dataset=videos(4, **FRAMES), processing_class=GLUSVLMProcessor.from_pretrained(base)
    )
    before = trained(trainer.model)
    groups = set(trainable_parameters(trainer.model))
    assert {"LoRA", "mask decoder", "[SEG] projection", "vision projection"} <= groups
    trainer.train()
    after = trained(trainer.model)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in after if "lora_B" in name)
    folder = trainer.export(tmp_path / "model")
    loaded = GLUSVLMForVideoSegmentation.from_pretrained(folder).eval()
    processor = GLUSVLMProcessor.from_pretrained(folder)
    batch = dict(processor([videos(4, **FRAMES)[0]]))
    with torch.no_grad():
        ours = trainer.model.eval()(**batch)
        again = loaded(**batch)
    torch.testing.assert_close(again.seg_embeddings, ours.seg_embeddings, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(again.ce_loss, ours.ce_loss, atol=1e-5, rtol=1e-4)
    start, rows = (
        each.get_input_embeddings().weight for each in (GLUSVLMForVideoSegmentation.from_pretrained(base), loaded)
    )
    assert (rows != start).any(-1).nonzero().flatten().tolist() == [loaded.config.seg_token_id]
    assert loaded.config.tie_word_embeddings is (vlm == "internvl")


def test_a_tied_head_is_not_untied_by_an_adapter():
    with pytest.raises(UserError, match="would untie embeddings and head of this model; use new_tokens"):
        prepare_model(small_model("internvl", answers=False), embeddings="full")


def test_a_run_from_a_file(tmp_path):
    base = saved_pair(tmp_path / "base")
    more = ["training.embedding_training=new_tokens", "training.contrastive_gather=false", "training.max_steps=2"]
    trainer, folder = train_from_file("tiny", tiny_run(tmp_path, base, *more))
    assert len(history(trainer)) == 2 and (folder / "processor_config.json").is_file()
    assert type(GLUSVLMForVideoSegmentation.from_pretrained(folder)) is GLUSVLMForVideoSegmentation
