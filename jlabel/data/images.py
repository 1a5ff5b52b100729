"""Pictures: decoding what a stranger sent, and one deterministic resize."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jlabel.errors import InputError


def decode_image(data: bytes) -> np.ndarray:
    """Decodes one picture to RGB.

    The EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures are converted, transparent ones are laid
    on white; of an animation the first frame is taken.

    Args:
      data: the encoded file (JPEG, PNG, WebP, GIF, BMP, TIFF: whatever Pillow reads).

    Returns:
      uint8 [H, W, 3].

    Raises:
      InputError: empty, truncated, not a picture, floating point, or more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.

    Example:
      >>> file = io.BytesIO()
      >>> Image.new("L", (4, 2), 7).save(file, "PNG")
      >>> decode_image(file.getvalue()).shape
      (2, 4, 3)
    """
    if not data:
        raise InputError("the picture is empty (0 bytes)")
    limit = Image.MAX_IMAGE_PIXELS or np.inf
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            if pixels <= limit:
                return np.asarray(_to_rgb(ImageOps.exif_transpose(image)), np.uint8)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"the picture has more than {limit} pixels") from error
    except InputError:
        raise
    except UnidentifiedImageError as error:  # its text holds an address in memory
        raise InputError("not a readable picture (cannot identify its format)") from error
    # Pillow's plugins raise nearly anything on damaged files: OSError, SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        raise InputError(f"not a readable picture ({' '.join(str(error).split()) or type(error).__name__})") from error
    raise InputError(f"the picture has {pixels} pixels, more than {limit}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise InputError("pictures of floating point pixels are not supported; store 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def check_picture(array: np.ndarray) -> np.ndarray:
    """A stored uint8 array [H, W], [H, W, 1] or [H, W, 3] as [H, W, 3].

    >>> check_picture(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise InputError(f"picture of {array.dtype} {array.shape}; expected uint8 [H, W, 3], [H, W, 1] or [H, W]")
    return np.broadcast_to(array, (*array.shape[:2], 3))


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Scales the central square of a picture to `size` by `size`, bicubic with antialiasing.

    Args:
      image: uint8 [H, W, 3].
      size: side in pixels, at least 1.

    Returns:
      uint8 [size, size, 3]; the picture itself where it has that shape already.

    Raises:
      InputError: `size` below 1.

    Example:
      >>> resize_image(np.full((8, 12, 3), 9, np.uint8), 4)[0, 0].tolist()
      [9, 9, 9]
    """
    if size < 1:
        raise InputError(f"image_size={size} must be at least 1")
    height, width = image.shape[:2]
    if height == width == size:
        return np.asarray(image)
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    # Cropping and scaling in one call: no intermediate picture, however long the other side is.
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.asarray(scaled)
