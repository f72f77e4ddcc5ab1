"""Models: small networks of images, stacked over cells, and language models of texts."""

__all__ = ["images", "texts"]
