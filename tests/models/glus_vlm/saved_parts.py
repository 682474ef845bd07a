"""The folders that a pair is put together from."""

import json

from glus_hf.models.vision_language_families import family_of
from tests.models.glus_vlm.small_glus_vlm import TEMPLATE, image_token, tokenizer
from tests.models.tiny_mask_models import tiny_mask_model
from tests.models.tiny_vlms import image_processor, tiny_vlm


def save_parts(folder, family, mask):
    """As the Hub has them: weights under the names of their first release, and no [SEG] in the tokenizer."""
    words = tokenizer(family)
    template = TEMPLATE.replace("PLACEHOLDER", family_of(family).placeholder)
    vlm = tiny_vlm(family, len(words) - 1, words.convert_tokens_to_ids(image_token(family)))
    vlm.save_pretrained(folder / "vlm")
    plain = tokenizer(family, seg=False)
    plain.chat_template = template
    plain.save_pretrained(folder / "vlm")
    image_processor(family).save_pretrained(folder / "vlm")
    branch = tiny_mask_model(mask)
    branch.save_pretrained(folder / "mask")
    statistics = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]}
    (folder / "mask" / "preprocessor_config.json").write_text(json.dumps(statistics))
    return vlm, branch
