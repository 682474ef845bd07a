"""Image processor of GLUS: the CLIP view and the mask-branch (SAM-2) view of a frame, without torchvision."""

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.processing_utils import ImagesKwargs

from ...media.images import as_rgb_arrays, without_far_ends
from ..checkpoint_loading import CheckpointMixin
from ..device_views import DeviceViews, check_where, is_plain, makes_on_device
from ..mask_images import mask_images


class GLUSImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings on top of CLIP's own.

    mask_size (`dict[str, int]`): "height" and "width" in pixels of the mask-branch view.
    mask_image_mean, mask_image_std (`list[float]`): per RGB channel, for values in 0..1.
    views (`str`): where inference makes them.
    """

    mask_size: dict[str, int] | None
    mask_image_mean: list[float] | None
    mask_image_std: list[float] | None
    views: str | None


class GLUSImageProcessor(CheckpointMixin, CLIPImageProcessorPil):
    """Makes both views of a frame, as the original code does.

    * `pixel_values`: CLIP's view. Shortest edge resized (bicubic, PIL, so rounded to uint8), centre crop, 0..1,
      CLIP mean and std. The left and right ends of a wide video are cut off.
    * `mask_pixel_values`: the mask branch's view. The whole frame scaled to 0..1, resized to `mask_size` (bilinear
      with antialiasing, in float, aspect ratio not kept), ImageNet mean and std.

    Both are made on the CPU in float32. An image is `uint8 [height, width, 3]` or `[3, height, width]` RGB (numpy or
    torch), or a PIL image; images of different sizes may be mixed. Anything else raises `ValueError`.

    Inference on a GPU makes them there from the uint8 frame; they equal these within one grey level (1/255 before mean
    and std). `views="pil"` makes them on the CPU for a GPU, too.

    Args:
        mask_size (`dict[str, int]`): default `{"height": 1024, "width": 1024}`.
        mask_image_mean, mask_image_std (`list[float]`): default ImageNet's.
        views (`str`): where the sessions of a video make them: "pil", "device" (that of the model) or "auto", the
            device where that is a GPU. It is not saved.
        kwargs: as for `CLIPImageProcessor` (`size`, `crop_size`, `image_mean`, ...).

    Example:

        >>> processor = GLUSImageProcessor(mask_size={"height": 64, "width": 64})
        >>> views = processor(np.zeros((96, 128, 3), np.uint8))
        >>> tuple(views.pixel_values.shape), tuple(views.mask_pixel_values.shape)
        ((1, 3, 224, 224), (1, 3, 64, 64))
    """

    valid_kwargs = GLUSImageProcessorKwargs
    model_input_names = ["pixel_values", "mask_pixel_values"]
    mask_size = {"height": 1024, "width": 1024}
    mask_image_mean = list(IMAGENET_DEFAULT_MEAN)
    mask_image_std = list(IMAGENET_DEFAULT_STD)
    views = "auto"

    def to_dict(self) -> dict:
        """The settings that a checkpoint has."""
        settings = super().to_dict()
        settings.pop("views", None)
        return settings

    def device_views(self, device: torch.device) -> DeviceViews | None:
        """What makes both views on a device; None where they are made on the CPU.

        Raises:
            UserError: `views` is none of its values, or "device" with settings that only PIL knows.
        """
        where = check_where(self.views)
        if not makes_on_device(where, device) or (where == "auto" and not is_plain(self)):
            return None
        return DeviceViews(self, device)

    def preprocess(self, images, return_tensors: str = "pt", **kwargs) -> BatchFeature:
        """Both views of one image or a list of N images.

        Args:
            images: one image, a list of images or an array `[N, height, width, 3]`.
            return_tensors (`str`): "pt" or "np".
            kwargs: overrides of the processor's own settings for this call.

        Returns:
            `BatchFeature`: `pixel_values [N, 3, crop, crop]`, `mask_pixel_values [N, 3, S, S]`, float32.
        """
        images = as_rgb_arrays(images)
        mask_kwargs = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("mask_")}
        data = {
            "pixel_values": self.clip_view(images, **kwargs),
            "mask_pixel_values": self.mask_view(images, **mask_kwargs),
        }
        return BatchFeature({key: value.numpy() for key, value in data.items()} if return_tensors == "np" else data)

    def clip_view(self, images, **kwargs) -> torch.Tensor:
        """CLIP's view, `float32 [N, 3, crop, crop]`, of N images."""
        kwargs.update(input_data_format="channels_last", return_tensors="pt")
        images = [without_far_ends(image) for image in as_rgb_arrays(images)]
        return super().preprocess(images, **kwargs).pixel_values

    def mask_view(self, images, mask_size=None, mask_image_mean=None, mask_image_std=None) -> torch.Tensor:
        """The mask branch's view, `float32 [N, 3, S, S]`, of N images."""
        size = mask_size or self.mask_size
        statistics = mask_image_mean or self.mask_image_mean, mask_image_std or self.mask_image_std
        return mask_images(images, (size["height"], size["width"]), *statistics)


__all__ = ["GLUSImageProcessor"]
