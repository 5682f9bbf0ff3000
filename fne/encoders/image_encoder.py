"""Frozen encoders of images."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.decoding import RULES
from fne.encoders.checkpoints import Checkpoint
from fne.encoders.encoder import Encoder
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch
    from PIL import Image

_NO_PIXELS = {"image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "return_tensors",
              "data_format", "input_data_format", "device", "disable_grouping", "name_or_path"}  # fmt: skip
"""What a processor says of itself, or of the layout of its result, rather than of pixels."""


class ImageEncoder(Encoder):
    """A frozen encoder of images."""

    modality = "image"

    def __init__(self, section: Mapping[str, Any], checkpoint: Checkpoint, device: str) -> None:
        import torch
        from transformers import AutoImageProcessor

        super().__init__(section, checkpoint, device)
        knows = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.interpolates = knows and section.get("image_size") is not None
        # the convolutions of the CPU run 2 to 3 times as fast with the channels last
        self.model = self.model.to(memory_format=torch.channels_last)
        with self.explained():
            # the Pillow backend everywhere, so that pixels do not depend on whether torchvision is installed
            self.processor = AutoImageProcessor.from_pretrained(checkpoint.folder, backend="pil")
            self.values = self._values()

    def preprocessing(self) -> dict[str, Any]:
        """What is done to a picture, for the manifest."""
        settings = self.processor.to_dict()
        kept = {key: value for key, value in settings.items() if value is not None and key not in _NO_PIXELS}
        return {**kept, "processor": type(self.processor).__name__, "backend": "pil", "decoding": RULES}

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Pixels of one RGB picture as the encoder wants them: (3, H, W) float32. Safe to call from many threads."""
        if self.values is None:
            return self._processed(image)
        return np.stack(
            [v.take(plane, mode="clip") for v, plane in zip(self.values, self._fitted(image), strict=False)]
        )

    def _processed(self, image: Image.Image) -> np.ndarray:
        """The same by the processor itself, in 64-bit steps and many copies."""
        pixels = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def _fitted(self, image: Image.Image) -> np.ndarray:
        """Bytes (3, H, W) of an image, resized to the processor's sides or shorter side, then cropped to its middle."""
        size, crop = self.processor.size, self.processor.crop_size
        if self.processor.do_resize:
            width, height = size.width, size.height
            if size.shortest_edge:
                width, height = (int(size.shortest_edge * side / min(image.size)) for side in image.size)
            image = image.resize((width, height), self.processor.resample)
        if self.processor.do_center_crop:
            left, upper = (image.width - crop.width) // 2, (image.height - crop.height) // 2
            image = image.crop((left, upper, left + crop.width, upper + crop.height))
        return np.asarray(image).transpose(2, 0, 1)

    def _values(self) -> np.ndarray | None:
        """The value of each byte in each channel, (3, 256); None where the processor does more than that and to fit.

        Whether it does is tried on images of other shapes, whose pixels have to be the processor's own.
        """
        from PIL import Image

        if {*dict(self.processor.size or {})} not in ({"height", "width"}, {"shortest_edge"}):
            return None
        ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
        plain: dict[str, Any] = {"do_resize": False, "do_center_crop": False, "return_tensors": "np"}
        self.values = self.processor(images=Image.fromarray(ramp), **plain)["pixel_values"][0][:, 0].astype(np.float32)
        draw = np.random.default_rng(0)
        for shape in ((24, 240), (240, 24), (700, 601)):
            example = Image.fromarray(draw.integers(0, 256, (*shape, 3), np.uint8))
            if not np.array_equal(self.prepare(example), self._processed(example)):
                return None
        return self.values

    def own_size(self) -> int:
        """Pixels a side of the square that the processor makes of an image, else of the configuration.

        Raises:
            UserError: It makes no square, or nothing says how large one would be.
        """
        from PIL import Image

        odd = 97
        height, width = self.prepare(Image.new("RGB", (odd, odd))).shape[1:]
        size = getattr(self.config, "image_size", None) if height == odd else height
        if height != width or type(size) is not int:
            problem = "the checkpoint names no square that its images are resized to"
            raise bad_input(problem, file=self.where, key="finetune.image_size", value=None, allowed="pixels a side")
        return size

    def batch_size(self, pixels: np.ndarray) -> int:
        """How many pictures to take at once: small batches keep a CPU's activations in its cache, a GPU wants many."""
        if self.device != "cpu":
            return 128
        return max(1, min(128, 8 * 224 * 224 // (pixels.shape[-1] * pixels.shape[-2])))

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Features of a batch of pictures.

        Args:
            pixels: (B, 3, H, W) float32 from :meth:`prepare`.

        Returns:
            (B, D) at the pooled level, (B, T, D) at the token level (regions only), float32.
        """
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device, self.model.dtype, memory_format=torch.channels_last)
            return self._stored(self.features(self.model, batch))

    def features(self, model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Features (B, D), or (B, T, D) at the token level, of normalised pixels (B, 3, H, W) under such a model.

        Where the section names an ``image_size`` other than the checkpoint's, positions are interpolated if the model
        knows how.
        """
        return self.family.image(model, self.config, pixels, self.pooling, interpolates=self.interpolates)

    def _examples(self) -> list[np.ndarray]:
        from PIL import Image

        json.dumps(self.preprocessing(), allow_nan=False)  # what the manifest of a store could not hold
        grey, ramp = Image.new("RGB", (64, 48), (128, 128, 128)), Image.linear_gradient("L").convert("RGB")
        return [np.atleast_2d(self.encode(self.prepare(one)[None])[0]).mean(0) for one in (grey, ramp)]


def resized(processor: Any, image: Image.Image) -> np.ndarray:
    """Bytes (3, H, W) of an RGB image, resized and cropped as an image processor of transformers does it."""
    settings: dict[str, Any] = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    return np.ascontiguousarray(processor(images=image, **settings)["pixel_values"][0], dtype=np.uint8)
