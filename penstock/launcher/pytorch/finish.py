"""What PyTorch does with batches of levels on the training device: the end of a torchvision transform."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class Finish:
    """Turns uint8 images of a batch, (n, channels, height, width), into what the transform's end makes of them.

    The arithmetic is torchvision's, in its order, so on a CPU the numbers are the same to the last bit.
    """

    #: How levels become floats: by division by 255 (ToTensor), by multiplication with 1/255 (v2.ToDtype), as they are
    #: (v2.ToDtype without scale); empty: they stay levels.
    scale: Literal["", "divide", "multiply", "keep"] = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    #: Whether one channel is kept, of several that are equal.
    gray: bool = False

    def __call__(self, torch: Any, images: Any) -> Any:
        """Return the images as the training loop gets them."""
        if self.gray:
            images = images[:, :1]
        if not self.scale:
            return images
        images = images.to(torch.float32)
        if self.scale == "divide":
            images.div_(255)
        elif self.scale == "multiply":
            images.mul_(1.0 / 255)
        if self.mean:
            mean, std = (
                torch.tensor(numbers, dtype=torch.float32, device=images.device).view(-1, 1, 1)
                for numbers in (self.mean, self.std)
            )
            images.sub_(mean).div_(std)
        return images
