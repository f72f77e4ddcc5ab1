"""Training loops: stacked cells of images, pairs of texts, supervised fine-tuning."""

__all__: list[str] = []
